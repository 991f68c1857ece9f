package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/cluster"
)

// answer is what the API server said to one write.
type answer struct {
	Code    int    `json:"code"`
	Message string `json:"message,omitempty"`
	Warning string `json:"warning,omitempty"`
}

// messageMax is the longest message that is read of an answer, in bytes: a denial has less than 2,000.
const messageMax = 4096

// conn is a client of one node with the identity of its row. It notes each answer to a write of that node.
type conn struct {
	node       string
	kubectl    string
	kubeconfig string
	as         identity
	config     *rest.Config
	typed      kubernetes.Interface
	cached     client.Client

	mutex   sync.Mutex
	answers []answer
	// exit is what the program kubectl exited with after a denial, in words.
	exit string
}

func newConn(config *rest.Config, as identity, node string) (*conn, error) {
	c := &conn{node: node, as: as, config: config}
	config.Impersonate = as.impersonation(node)
	// The answers are read here too, and what admission sees does not depend on it.
	config.ContentType, config.AcceptContentTypes = "application/json", "application/json"
	// No limit of our own: what is asked, and when, is the row's business.
	config.QPS = -1
	config.WarningHandlerWithContext = rest.NoWarnings{}
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return noting{c, next} })
	typed, err := kubernetes.NewForConfig(config)
	c.typed = typed
	return c, err
}

// noting is a transport that notes the answers to writes.
type noting struct {
	conn *conn
	next http.RoundTripper
}

func (n noting) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := n.next.RoundTrip(request)
	if err != nil || (request.Method != http.MethodPatch && request.Method != http.MethodPut) {
		return response, err
	}
	body, err := io.ReadAll(response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	n.conn.note(answer{response.StatusCode, messageOf(body), response.Header.Get("Warning")})
	return response, nil
}

func messageOf(body []byte) string {
	var status metav1.Status
	if json.Unmarshal(body, &status) != nil || status.Kind != "Status" {
		return ""
	}
	return status.Message[:min(len(status.Message), messageMax)]
}

func (c *conn) note(a answer) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.answers = append(c.answers, a)
}

// asked returns all answers so far, without conflicts: they say nothing about admission.
func (c *conn) asked() []answer {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	var asked []answer
	for _, a := range c.answers {
		if a.Code != http.StatusConflict {
			asked = append(asked, a)
		}
	}
	return asked
}

func (c *conn) get(ctx context.Context) (*corev1.Node, error) {
	return c.typed.CoreV1().Nodes().Get(ctx, c.node, metav1.GetOptions{})
}

// startCache makes the client of controller-runtime, whose reads come from a cache that a watch fills.
func (c *conn) startCache(ctx context.Context) error {
	own, err := cluster.New(c.config, func(options *cluster.Options) {
		options.Cache.ByObject = map[client.Object]cache.ByObject{
			&corev1.Node{}: {Field: fields.OneTermEqualSelector("metadata.name", c.node)},
		}
	})
	if err != nil {
		return err
	}
	c.cached = own.GetClient()
	go func() { _ = own.Start(ctx) }()
	if _, err := own.GetCache().GetInformer(ctx, &corev1.Node{}); err != nil {
		return err
	}
	if !own.GetCache().WaitForCacheSync(ctx) {
		return errors.New("the cache did not fill")
	}
	return nil
}

// kubectlTimeout is the longest run of kubectl. It first reads the API groups, which takes seconds on a busy machine.
const kubectlTimeout = 30 * time.Second

// runKubectl runs kubectl with this row's identity. The answer to its write is read from what it prints.
func (c *conn) runKubectl(ctx context.Context, arguments ...string) error {
	ctx, cancel := context.WithTimeout(ctx, kubectlTimeout)
	defer cancel()
	all := []string{"--kubeconfig", c.kubeconfig}
	if as := c.as.impersonation(c.node); as.UserName != "" {
		all = append(all, "--as", as.UserName)
		for _, group := range as.Groups {
			all = append(all, "--as-group", group)
		}
	}
	command := exec.CommandContext(ctx, c.kubectl, append(all, arguments...)...)
	said, err := command.CombinedOutput()
	text := string(said[:min(len(said), messageMax)])
	switch {
	case strings.Contains(text, "denied the request") || strings.Contains(text, "forbidden"):
		c.note(answer{http.StatusForbidden, text, ""})
		// kubectl's code may be 0 all the same.
		c.exit = fmt.Sprintf("exit code %d, never again", command.ProcessState.ExitCode())
		return errors.New(text)
	case err == nil && !strings.Contains(text, "already uncordoned"):
		c.note(answer{http.StatusOK, "", text})
	}
	return err
}
