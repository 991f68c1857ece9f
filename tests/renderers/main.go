// Command renderers renders a directory of manifests as a GitOps tool does, and prints the objects as YAML.
//
// `renderers flux ROOT DIRECTORY NAMESPACE` does what Flux' kustomize-controller does with `spec.targetNamespace`, by its library.
// ROOT is what Flux would have unpacked; it changes the kustomization in DIRECTORY, so give it a copy.
// `renderers kustomize ARGUMENTS` is kustomize's own program, which Argo CD runs.
//
// go.mod also names helm and helm-unittest, which are built beside this program.
// Not here: what the tools do with the objects that they have rendered.
package main

import (
	"errors"
	"fmt"
	"os"

	flux "github.com/fluxcd/pkg/kustomize"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/kustomize/v5/commands"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "renderers:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 4 && arguments[0] == "flux":
		return renderAsFlux(arguments[1], arguments[2], arguments[3])
	case len(arguments) > 1 && arguments[0] == "kustomize":
		program := commands.NewDefaultCommand()
		program.SetArgs(arguments[1:])
		return program.Execute()
	default:
		return errors.New("usage: renderers flux ROOT DIRECTORY NAMESPACE, or renderers kustomize ARGUMENTS")
	}
}

// renderAsFlux makes the calls of `generate` and `build` in kustomize-controller's kustomization_controller.go, without remote bases.
func renderAsFlux(root, directory, namespace string) error {
	kustomization := unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "kustomize.toolkit.fluxcd.io/v1",
		"kind":       "Kustomization",
		"spec":       map[string]any{"targetNamespace": namespace},
	}}
	if _, err := flux.NewGenerator(root, kustomization).WriteFile(directory); err != nil {
		return fmt.Errorf("failed to set the namespace in %s: %w", directory, err)
	}
	built, err := flux.SecureBuild(root, directory, false)
	if err != nil {
		return fmt.Errorf("failed to build %s: %w", directory, err)
	}
	text, err := built.AsYaml()
	if err != nil {
		return fmt.Errorf("failed to print %s: %w", directory, err)
	}
	_, err = os.Stdout.Write(text)
	return err
}
