// Command plain-webhook is an admission webhook as most are written in Go: net/http, and Kubernetes' own types for the review and both Nodes. It
// denies an uncordon of a Node that has the label of a hold, or takes it out of the request, and allows all else. Our webhook is measured beside it.
//
// It logs nothing and looks nothing up, so it does less than ours.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	phaseLabel = "cordonhold.dev/phase"
	// As in the API server, which sends no more.
	bodyMax = 3 << 20
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8443", "where to listen")
	cert := flag.String("tls-cert", "", "the certificate, in PEM")
	key := flag.String("tls-key", "", "its key, in PEM")
	flag.Parse()
	http.HandleFunc("/validate", func(w http.ResponseWriter, r *http.Request) { serve(w, r, decide) })
	http.HandleFunc("/mutate", func(w http.ResponseWriter, r *http.Request) { serve(w, r, keep) })
	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 10 * time.Second}
	fmt.Fprintln(os.Stderr, "plain-webhook:", server.ListenAndServeTLS(*cert, *key))
	os.Exit(1)
}

func serve(w http.ResponseWriter, r *http.Request, answer func(*admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error)) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMax))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
		http.Error(w, fmt.Sprintf("no review: %v", err), http.StatusBadRequest)
		return
	}
	response, err := answer(review.Request)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Request, review.Response = nil, response
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		fmt.Fprintln(os.Stderr, "plain-webhook:", err)
	}
}

func decide(request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	name, uncordons, err := uncordonsHeld(request)
	if err != nil {
		return nil, err
	}
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: !uncordons}
	if uncordons {
		response.Result = &metav1.Status{
			Code:    http.StatusForbidden,
			Reason:  metav1.StatusReasonForbidden,
			Message: fmt.Sprintf("node %s is held for a reboot and stays cordoned", name),
		}
	}
	return response, nil
}

// keep takes the uncordon of a held Node out of the request, which then passes.
func keep(request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, error) {
	name, uncordons, err := uncordonsHeld(request)
	if err != nil {
		return nil, err
	}
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	if uncordons {
		patchType := admissionv1.PatchTypeJSONPatch
		response.PatchType = &patchType
		response.Patch = []byte(`[{"op":"add","path":"/spec/unschedulable","value":true}]`)
		response.Warnings = []string{fmt.Sprintf("node %s stays cordoned: it is held for a reboot", name)}
	}
	return response, nil
}

func uncordonsHeld(request *admissionv1.AdmissionRequest) (string, bool, error) {
	var before, after corev1.Node
	if err := json.Unmarshal(request.OldObject.Raw, &before); err != nil {
		return "", false, fmt.Errorf("no old Node: %w", err)
	}
	if err := json.Unmarshal(request.Object.Raw, &after); err != nil {
		return "", false, fmt.Errorf("no Node: %w", err)
	}
	_, held := before.Labels[phaseLabel]
	return after.Name, held && before.Spec.Unschedulable && !after.Spec.Unschedulable, nil
}
