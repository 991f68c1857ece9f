// Command review-decode measures how long Go takes to decode a whole review, as most admission webhooks do:
// first the review, then both of its Nodes, by Kubernetes' own decoders, which controller-runtime uses too.
//
// It reads the review from standard input and prints the time of the fastest of many rounds, in nanoseconds.
package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

const rounds = 200

func main() {
	fastest, err := measure(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, "review-decode:", err)
		os.Exit(1)
	}
	fmt.Println(fastest.Nanoseconds())
}

func measure(input io.Reader) (time.Duration, error) {
	body, err := io.ReadAll(input)
	if err != nil {
		return 0, fmt.Errorf("failed to read the review: %w", err)
	}
	scheme := runtime.NewScheme()
	if err := admissionv1.AddToScheme(scheme); err != nil {
		return 0, err
	}
	if err := corev1.AddToScheme(scheme); err != nil {
		return 0, err
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	fastest := time.Duration(math.MaxInt64)
	for range rounds {
		began := time.Now()
		if err := decode(decoder, body); err != nil {
			return 0, fmt.Errorf("failed to decode the review: %w", err)
		}
		fastest = min(fastest, time.Since(began))
	}
	return fastest, nil
}

func decode(decoder runtime.Decoder, body []byte) error {
	var review admissionv1.AdmissionReview
	if _, _, err := decoder.Decode(body, nil, &review); err != nil {
		return err
	}
	for _, raw := range [][]byte{review.Request.Object.Raw, review.Request.OldObject.Raw} {
		if _, _, err := decoder.Decode(raw, nil, &corev1.Node{}); err != nil {
			return err
		}
	}
	return nil
}
