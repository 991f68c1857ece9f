package main

import (
	"context"
	"fmt"
	"os"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// waitOut waits until no hold keeps the node cordoned, by the lines of docs/good-neighbour.md, and says so before and after.
func waitOut(ctx context.Context, name string) error {
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	fmt.Println("waits")
	if err := untilFree(ctx, client.CoreV1().Nodes(), name); err != nil {
		return err
	}
	fmt.Println("free")
	return nil
}

func untilFree(ctx context.Context, nodes typed.NodeInterface, name string) error {
	return wait.PollUntilContextCancel(ctx, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		node, err := nodes.Get(ctx, name, metav1.GetOptions{})
		return err == nil && (node.Labels["cordonhold.dev/phase"] == "" || node.Labels["cordonhold.dev/phase"] == "wanted"), nil
	})
}
