// Command kubelet is Kubernetes' kubelet, as its own main package makes it (kubernetes/kubernetes: cmd/kubelet/kubelet.go).
// It is no part of the binary beside it: few tests need it. It adds no flag and no behaviour of its own.
package main

import (
	"context"
	"os"

	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	os.Exit(cli.Run(app.NewKubeletCommand(context.Background())))
}
