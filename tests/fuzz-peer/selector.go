package main

import "k8s.io/apimachinery/pkg/labels"

type selectorQuestion struct {
	Selector string              `json:"selector"`
	Labels   []map[string]string `json:"labels"`
}

type selectorAnswer struct {
	// Why it is no selector; empty if it is one.
	Error string `json:"error"`
	// Whether it matches each set of labels.
	Matches []bool `json:"matches"`
}

func readSelector(question selectorQuestion) selectorAnswer {
	answer := selectorAnswer{Matches: []bool{}}
	selector, err := labels.Parse(question.Selector)
	if err != nil {
		answer.Error = err.Error()
		return answer
	}
	for _, set := range question.Labels {
		answer.Matches = append(answer.Matches, selector.Matches(labels.Set(set)))
	}
	return answer
}
