package main

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

// How a row speaks to the API server.
const (
	// impersonated: an admin's client asks the API server to take the request for the user's.
	impersonated = ""
	// byPodToken: with a token of its ServiceAccount that is bound to a pod on the node.
	byPodToken = "pod"
	// byProxy: with the token of a proxy's ServiceAccount, which impersonates the user.
	byProxy = "proxy"
)

// nodeName stands for the name of the node.
const nodeName = "NODE"

// identity is who sends the requests of a row.
type identity struct {
	User   string   `json:"user"`
	Groups []string `json:"groups"`
	Token  string   `json:"token,omitempty"`
	// Proxy is the ServiceAccount that impersonates the user.
	Proxy string `json:"proxy,omitempty"`
	// Guess: the program's own identity is not known, so this is a plausible one.
	Guess bool `json:"guess,omitempty"`
}

// row is one program that uncordons nodes.
type row struct {
	id, who  string
	as       identity
	send     request
	patience patience
	// looks says that the program looks again whether its uncordon took.
	looks bool
	// owns is an annotation that the program puts on a Node that it cordons. Without it, it leaves the cordon alone.
	owns string
	// taint is one that the program has on the Node besides.
	taint string
	// hold is how long the hold lasts, in the program's time; 0: until the program has given up or has asked five times.
	hold time.Duration
}

func account(namespace, name string) identity {
	return identity{
		User:   "system:serviceaccount:" + namespace + ":" + name,
		Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
}

func user(name string, groups ...string) identity {
	return identity{User: name, Groups: append(groups, "system:authenticated")}
}

func (i identity) guessed() identity { i.Guess = true; return i }

func (i identity) onPod() identity { i.Token = byPodToken; return i }

func (i identity) through(proxy string) identity { i.Token, i.Proxy = byProxy, proxy; return i }

// impersonation is what the client asks for; with a pod's token it speaks for itself.
func (i identity) impersonation(node string) rest.ImpersonationConfig {
	if i.Token == byPodToken {
		return rest.ImpersonationConfig{}
	}
	return rest.ImpersonationConfig{UserName: strings.ReplaceAll(i.User, nodeName, node), Groups: i.Groups}
}

var (
	masters = func(name string) identity { return user(name, "system:masters") }
	kubelet = user("system:node:"+nodeName, "system:nodes")
	again   = defaultQueue()

	// NTH: pkg/node, cmd/node-termination-handler.go: four tries, two seconds apart.
	fourTries = steps{wait.Backoff{Steps: 4, Duration: 2 * time.Second}, "never again", 1}
	// FLUO: the process ends, and the kubelet starts it again after 10 s, doubled up to 5 min; 30 times shorter here.
	restarts = queue{10 * time.Second, 5 * time.Minute, 30, "its process ends and is started again until the node is schedulable"}
	// MCO: five tries from 10 s on, doubled; the pauses are 30 times shorter here.
	fiveTries = steps{wait.Backoff{Steps: 5, Duration: 10 * time.Second, Factor: 2}, "an error", 30}
)

// rows is the table: the programs known to uncordon nodes, and then shapes that none of them has.
var rows = []row{
	{id: "1", who: "NVIDIA driver manager", as: account("gpu-operator", "nvidia-driver").onPod(), send: library,
		patience: once("a warning, never again")},
	{id: "2", who: "NVIDIA GPU and network operators, upgrades", as: account("gpu-operator", "gpu-operator"), send: library, patience: again,
		owns: "nvidia.com/gpu-driver-upgrade-requested"},
	{id: "3", who: "NVIDIA nodewright (skyhook)", as: account("skyhook", "skyhook-controller-manager"), patience: again,
		send: mergeCached(", with its annotation", dropAnnotation("skyhook.nvidia.com/cordon_demo")), owns: "skyhook.nvidia.com/cordon_demo"},
	{id: "4", who: "maintenance-operator", as: account("maintenance-operator", "maintenance-operator-controller-manager"), send: library,
		patience: again},
	{id: "5", who: "system-upgrade-controller, hold of 20 min", as: account("system-upgrade", "system-upgrade"), send: planPut, patience: sucJob,
		hold: 20 * time.Minute},
	{id: "5b", who: "system-upgrade-controller, hold of 5 min", as: account("system-upgrade", "system-upgrade"), send: planPut, patience: sucJob,
		hold: 5 * time.Minute},
	{id: "6", who: "Rancher, action of a user", send: put("", nothingElse), patience: again,
		as: account("cattle-impersonation-system", "cattle-impersonation-u-demo").through("cattle-system:rancher").guessed()},
	{id: "7", who: "Rancher CAPR, machine drain", as: masters("admin").guessed(), send: library, patience: again},
	{id: "8", who: "OpenShift MCO", as: account("openshift-machine-config-operator", "machine-config-controller"), send: library,
		patience: repeated{fiveTries, time.Minute}, looks: true},
	{id: "9", who: "medik8s NMO", as: account("node-maintenance-operator", "node-maintenance-operator-controller-manager"),
		send: libraryAndTaint("medik8s.io/drain"), patience: again, taint: "medik8s.io/drain"},
	{id: "10", who: "sriov-network-operator", as: account("sriov-network-operator", "sriov-network-operator"), send: library, patience: again},
	{id: "11", who: "AWS node termination handler", as: account("kube-system", "aws-node-termination-handler"), send: library, patience: fourTries},
	{id: "12", who: "cluster-autoscaler, provider kamatera", as: account("kube-system", "cluster-autoscaler"),
		send: put(", with its taint", func(node *corev1.Node) {
			node.Spec.Taints = without(node.Spec.Taints, "ToBeDeletedByClusterAutoscaler")
		}), patience: once("an error in its log, never again"), taint: "ToBeDeletedByClusterAutoscaler"},
	{id: "13", who: "Flatcar FLUO", as: account("reboot-coordinator", "flatcar-linux-update-agent"), patience: restarts,
		send: put(", with its annotation", dropAnnotation("flatcar-linux-update.v1.flatcar-linux.net/agent-made-unschedulable")),
		owns: "flatcar-linux-update.v1.flatcar-linux.net/agent-made-unschedulable"},
	{id: "14", who: "sapcc maintenance-controller", as: account("maintenance-controller", "maintenance-controller"), patience: again,
		send: mergeCached(", with its state", func(node *corev1.Node) {
			if node.Annotations == nil {
				node.Annotations = map[string]string{}
			}
			node.Annotations["cloud.sap/maintenance-data"] = `{"state":"operational"}`
		})},
	{id: "15", who: "cybozu CKE", as: masters("admin"), owns: "cke.cybozu.com/reboot", patience: again,
		send: strategic(`{"metadata":{"annotations":{"cke.cybozu.com/reboot":null}},"spec":{"unschedulable":false}}`)},
	{id: "16", who: "k0s autopilot, from 1.36 on", as: masters("kubernetes-admin"), send: library, patience: again},
	{id: "16b", who: "k0s autopilot, before 1.36", as: kubelet, send: library, patience: again},
	{id: "17", who: "talosctl reboot, upgrade", as: masters("admin"), send: library, patience: once("the command fails, never again")},
	{id: "18", who: "Talos NodeApply", as: kubelet, owns: "talos.dev/cordoned",
		send:     put(", with its annotation", dropAnnotation("talos.dev/cordoned")),
		patience: within{100 * time.Millisecond, 10 * time.Second, "again with the next change of its configuration"}},
	{id: "19", who: "tuppr, drain", as: account("system-upgrade", "tuppr"), send: put("", nothingElse), patience: again},
	{id: "19b", who: "tuppr, end of a job", as: account("system-upgrade", "tuppr"), send: merge(`{"spec":{"unschedulable":false}}`),
		patience: once("a line in its log, never again")},
	{id: "20", who: "kairos-operator", as: account("operator-system", "operator-kairos-operator").guessed(), patience: again,
		send: putCached(", with its annotation", dropAnnotation("operator.kairos.io/cordoned-by")), owns: "operator.kairos.io/cordoned-by"},
	{id: "21", who: "Gardener MCM, in-place update", as: account("kube-system", "machine-controller-manager").guessed(), send: putShared, patience: again},
	{id: "22", who: "Harvester", as: account("harvester-system", "harvester"), taint: "kubevirt.io/drain",
		send: put(", with its taint and annotation", func(node *corev1.Node) {
			node.Spec.Taints = without(node.Spec.Taints, "kubevirt.io/drain")
			delete(node.Annotations, "harvesterhci.io/maintain-status")
		}), patience: once("an error in its web page, never again by itself")},
	{id: "23", who: "poseidon fleetlock", as: account("default", "fleetlock"), send: strategic(`{"spec":{"unschedulable":false}}`), patience: again},
	{id: "24", who: "brupop", as: account("brupop-bottlerocket-aws", "brupop-apiserver-service-account"),
		send: strategic(`{"spec":{"unschedulable":false}}`), patience: again, looks: true},
	{id: "25", who: "NVSentinel", as: account("nvsentinel", "fault-quarantine").guessed(), send: mergeCached("", nothingElse), patience: again},
	{id: "26", who: "node-maintenance-orchestrator", as: account("nmo-system", "nmo-controller-manager"),
		send: merge(`{"spec":{"unschedulable":false}}`), patience: again, looks: true},
	{id: "27", who: "Deckhouse d8-shutdown-inhibitor", as: identity{User: kubelet.User, Groups: kubelet.Groups, Guess: true}, send: library,
		patience: again},
	{id: "28", who: "kubespray, KubeMarine, Ansible", as: masters("admin"), send: kubectlUncordon, patience: once("exit code 0, never again")},
	{id: "29", who: "AKS auto-repair", as: user("aks-remediator").guessed(), send: library, patience: once("not known, never again here")},
	{id: "29b", who: "EKS managed node groups", as: user("eks:node-manager").guessed(), send: library, patience: once("not known, never again here")},

	{id: "a", who: "a GitOps tool", as: account("flux-system", "kustomize-controller").guessed(), send: applied, patience: again, looks: true},
	{id: "b", who: "a script with an old file, PUT", as: masters("admin"), send: stalePut, patience: once("exit code 1, never again")},
	{id: "c", who: "a script with an old file, patch", as: masters("admin"), send: staleMerge, patience: once("exit code 1, never again")},
	{id: "d", who: "a script with a JSON patch", as: user("jo", "ops"), send: jsonRemove, patience: once("exit code 1, never again")},
}

// planPut is the PUT of system-upgrade-controller: the plan's label and the uncordon together.
var planPut = put(", with the plan's label", func(node *corev1.Node) {
	node.Labels["plan.upgrade.cattle.io/demo"] = "done"
})

// sucJob has the Job's ttlSecondsAfterFinished of 900 s; it runs for a minute. All of it is 60 times faster here.
var sucJob = job{queue{5 * time.Millisecond, 1000 * time.Second, 60, untilSchedulable}, time.Minute, 15 * time.Minute}
