// Command fuzz-peer reads what Cordonhold reads, in the way of others, so that the two readings can be compared.
//
// It reads lines of JSON from standard input and prints a line of JSON for each. The argument says what they are: selectors, by Kubernetes'
// own parser, or locks, by kured's types.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "fuzz-peer:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) != 1 {
		return fmt.Errorf("name what to read: selectors or locks")
	}
	switch arguments[0] {
	case "selectors":
		return answerAll(os.Stdin, os.Stdout, readSelector)
	case "locks":
		return answerAll(os.Stdin, os.Stdout, readLock)
	default:
		return fmt.Errorf("%q is neither selectors nor locks", arguments[0])
	}
}

// answerAll answers each question. It writes once the input has ended, because who asks does not read before.
func answerAll[Question, Answer any](input io.Reader, output io.Writer, answer func(Question) Answer) error {
	var all bytes.Buffer
	questions, answers := json.NewDecoder(input), json.NewEncoder(&all)
	for {
		var question Question
		if err := questions.Decode(&question); err == io.EOF {
			_, err := all.WriteTo(output)
			return err
		} else if err != nil {
			return fmt.Errorf("failed to read a question: %w", err)
		}
		if err := answers.Encode(answer(question)); err != nil {
			return err
		}
	}
}
