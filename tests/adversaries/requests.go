package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/util/retry"
	"k8s.io/kubectl/pkg/drain"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// request is one way to clear the cordon of a node.
type request struct {
	// words say to people what is sent.
	words string
	// prepare makes the function that sends it.
	prepare func(ctx context.Context, c *conn) (try, error)
}

// sends makes a request that needs no preparation.
func sends(words string, send func(ctx context.Context, c *conn) error) request {
	return request{words, func(_ context.Context, c *conn) (try, error) {
		return func(ctx context.Context) error { return send(ctx, c) }, nil
	}}
}

// ours is the prefix of what a hold writes on a Node.
const ours = "cordonhold.dev/"

// library is the uncordon of kubectl's drain library, which most programs call.
var library = sends("drain library: strategic patch `{\"spec\":{\"unschedulable\":null}}`", uncordonByLibrary)

func uncordonByLibrary(ctx context.Context, c *conn) error {
	node, err := c.get(ctx)
	if err != nil {
		return err
	}
	return drain.RunCordonOrUncordon(&drain.Helper{Ctx: ctx, Client: c.typed}, node, false)
}

// libraryAndTaint is the library's uncordon after a JSON patch that removes a taint of the program's own.
func libraryAndTaint(key string) request {
	return sends("JSON patch of the taints, then the drain library", func(ctx context.Context, c *conn) error {
		node, err := c.get(ctx)
		if err != nil {
			return err
		}
		if kept := without(node.Spec.Taints, key); len(kept) != len(node.Spec.Taints) {
			patch := []map[string]any{
				{"op": "test", "path": "/spec/taints", "value": node.Spec.Taints},
				{"op": "replace", "path": "/spec/taints", "value": kept},
			}
			if err := c.patch(ctx, types.JSONPatchType, patch); err != nil {
				return err
			}
		}
		return uncordonByLibrary(ctx, c)
	})
}

// put is a PUT of the whole Node as it was just read, which a conflict lets begin anew.
func put(words string, change func(*corev1.Node)) request {
	return sends("PUT"+words, func(ctx context.Context, c *conn) error {
		return retry.RetryOnConflict(retry.DefaultBackoff, func() error {
			node, err := c.get(ctx)
			if err != nil || !node.Spec.Unschedulable {
				return err
			}
			node.Spec.Unschedulable = false
			change(node)
			_, err = c.typed.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
			return err
		})
	})
}

func nothingElse(*corev1.Node) {}

// putCached is the Update of controller-runtime on a copy from its cache. A conflict is an error, which the queue tries again.
func putCached(words string, change func(*corev1.Node)) request {
	return request{"PUT of a copy from controller-runtime's cache" + words, func(ctx context.Context, c *conn) (try, error) {
		return func(ctx context.Context) error {
			var node corev1.Node
			if err := c.cached.Get(ctx, client.ObjectKey{Name: c.node}, &node); err != nil || !node.Spec.Unschedulable {
				return err
			}
			node.Spec.Unschedulable = false
			change(&node)
			return c.cached.Update(ctx, &node)
		}, c.startCache(ctx)
	}}
}

// mergeCached is the Patch of controller-runtime: a merge patch with what differs from the copy in the cache, without resourceVersion.
func mergeCached(words string, change func(*corev1.Node)) request {
	return request{"JSON merge patch made by controller-runtime" + words, func(ctx context.Context, c *conn) (try, error) {
		return func(ctx context.Context) error {
			var node corev1.Node
			if err := c.cached.Get(ctx, client.ObjectKey{Name: c.node}, &node); err != nil || !node.Spec.Unschedulable {
				return err
			}
			before := node.DeepCopy()
			node.Spec.Unschedulable = false
			change(&node)
			return c.cached.Patch(ctx, &node, client.MergeFrom(before))
		}, c.startCache(ctx)
	}}
}

// putShared is a PUT of the very object in the cache of an informer, which is changed in place, so that the cache then says what was wished.
var putShared = request{"PUT of the object in the informer's cache itself", func(ctx context.Context, c *conn) (try, error) {
	only := func(options *metav1.ListOptions) {
		options.FieldSelector = fields.OneTermEqualSelector("metadata.name", c.node).String()
	}
	factory := informers.NewSharedInformerFactoryWithOptions(c.typed, 0, informers.WithTweakListOptions(only))
	lister := factory.Core().V1().Nodes().Lister()
	factory.Core().V1().Nodes().Informer()
	factory.Start(ctx.Done())
	for _, isFilled := range factory.WaitForCacheSync(ctx.Done()) {
		if !isFilled {
			return nil, errors.New("the informer did not fill its cache")
		}
	}
	return func(ctx context.Context) error {
		node, err := lister.Get(c.node)
		if err != nil || !node.Spec.Unschedulable {
			return err
		}
		version := node.ResourceVersion
		node.Spec.Unschedulable = false
		_, err = c.typed.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
		if apierrors.IsConflict(err) {
			// The watch is about to replace the object, and with it what was changed.
			err = errors.Join(err, untilReplaced(ctx, lister, c.node, version))
		}
		return err
	}, nil
}}

func untilReplaced(ctx context.Context, lister listers.NodeLister, name, version string) error {
	return wait.PollUntilContextCancel(ctx, 10*time.Millisecond, true, func(context.Context) (bool, error) {
		node, err := lister.Get(name)
		return err == nil && node.ResourceVersion != version, err
	})
}

// stalePut is a PUT without resourceVersion of the Node as it was before the hold, as a script has it in a file.
var stalePut = sends("PUT without resourceVersion, of the Node as it was before the hold", func(ctx context.Context, c *conn) error {
	node, err := c.get(ctx)
	if err != nil {
		return err
	}
	beforeHold(node)
	node.ResourceVersion = ""
	_, err = c.typed.CoreV1().Nodes().Update(ctx, node, metav1.UpdateOptions{})
	return err
})

// staleMerge is a merge patch that has the whole Node as it was before the hold.
var staleMerge = sends("JSON merge patch of the whole Node, as it was before the hold", func(ctx context.Context, c *conn) error {
	node, err := c.get(ctx)
	if err != nil {
		return err
	}
	beforeHold(node)
	whole := map[string]any{
		"metadata": map[string]any{"labels": node.Labels, "annotations": node.Annotations},
		"spec":     map[string]any{"taints": node.Spec.Taints, "unschedulable": false},
	}
	return c.patch(ctx, types.MergePatchType, whole)
})

// beforeHold makes a Node what it was without a hold, and schedulable.
func beforeHold(node *corev1.Node) {
	for _, keys := range []map[string]string{node.Labels, node.Annotations} {
		for key := range keys {
			if strings.HasPrefix(key, ours) {
				delete(keys, key)
			}
		}
	}
	node.Spec.Taints = without(node.Spec.Taints, ours+"rebooting")
	node.Spec.Unschedulable = false
}

// strategic is a strategic merge patch with this body.
func strategic(body string) request {
	return sends("strategic patch `"+body+"`", func(ctx context.Context, c *conn) error {
		return c.patch(ctx, types.StrategicMergePatchType, json.RawMessage(body))
	})
}

// merge is a JSON merge patch with this body.
func merge(body string) request {
	return sends("JSON merge patch `"+body+"`", func(ctx context.Context, c *conn) error {
		return c.patch(ctx, types.MergePatchType, json.RawMessage(body))
	})
}

// jsonRemove is a JSON patch that removes the cordon.
var jsonRemove = sends("JSON patch that removes `/spec/unschedulable`", func(ctx context.Context, c *conn) error {
	node, err := c.get(ctx)
	if err != nil || !node.Spec.Unschedulable {
		return err
	}
	return c.patch(ctx, types.JSONPatchType, []map[string]any{{"op": "remove", "path": "/spec/unschedulable"}})
})

// applied is a server-side apply that takes the field over by force.
var applied = sends("server-side apply of `unschedulable: false`, by force", func(ctx context.Context, c *conn) error {
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "Node",
		"metadata": map[string]any{"name": c.node},
		"spec":     map[string]any{"unschedulable": false},
	})
	if err != nil {
		return err
	}
	isForced := true
	options := metav1.PatchOptions{FieldManager: "gitops", Force: &isForced}
	_, err = c.typed.CoreV1().Nodes().Patch(ctx, c.node, types.ApplyPatchType, body, options)
	return err
})

// kubectlUncordon is the program kubectl itself.
var kubectlUncordon = sends("`kubectl uncordon`", func(ctx context.Context, c *conn) error {
	return c.runKubectl(ctx, "uncordon", c.node)
})

func (c *conn) patch(ctx context.Context, kind types.PatchType, body any) error {
	bytes, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.typed.CoreV1().Nodes().Patch(ctx, c.node, kind, bytes, metav1.PatchOptions{})
	return err
}

func without(taints []corev1.Taint, key string) []corev1.Taint {
	kept := []corev1.Taint{}
	for _, taint := range taints {
		if taint.Key != key {
			kept = append(kept, taint)
		}
	}
	return kept
}

// dropAnnotation returns a change that removes an annotation.
func dropAnnotation(key string) func(*corev1.Node) {
	return func(node *corev1.Node) { delete(node.Annotations, key) }
}
