// Command adversaries uncordons a node as one of the programs does that are known to uncordon nodes: with its identity, its request, and its
// patience after a denial. It is how they behave, not their code.
//
//	adversaries list                     prints each row of the table, as a line of JSON
//	adversaries run ROW NODE             plays a row until it gives up or its standard input ends, and prints what happens
//	adversaries wait NODE                waits for the end of a hold, as a good neighbour does
//
// The kubeconfig of an admin is in KUBECONFIG, a token that the row speaks with in TOKEN, and the path of kubectl in KUBECTL.
// Here is what it prints, and what it is told; rows.go is the table, requests.go has the requests, patience.go the patience.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// listed is a row as `list` prints it.
type listed struct {
	ID          string   `json:"id"`
	Who         string   `json:"who"`
	As          identity `json:"as"`
	Request     string   `json:"request"`
	Patience    string   `json:"patience"`
	Factor      int      `json:"factor"`
	Endless     bool     `json:"endless"`
	Looks       bool     `json:"looks"`
	Owns        string   `json:"owns,omitempty"`
	Taint       string   `json:"taint,omitempty"`
	HoldSeconds float64  `json:"hold_seconds,omitempty"`
}

// line is what `run` prints: one for each try, with the answer to its last write, and one at the end.
type line struct {
	Try    int     `json:"try,omitempty"`
	Answer *answer `json:"answer,omitempty"`
	Error  string  `json:"error,omitempty"`
	Then   string  `json:"then,omitempty"`
}

func main() {
	// The libraries would say what they try again; what counts is printed here.
	klog.SetOutput(io.Discard)
	klog.LogToStderr(false)
	log.SetLogger(klog.Background())
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "adversaries:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	switch {
	case len(arguments) == 1 && arguments[0] == "list":
		return list()
	case len(arguments) == 3 && arguments[0] == "run":
		for _, r := range rows {
			if r.id == arguments[1] {
				return play(r, arguments[2])
			}
		}
		return fmt.Errorf("no row %q: `adversaries list` prints them", arguments[1])
	case len(arguments) == 2 && arguments[0] == "wait":
		ctx, cancel := untilStdinEnds()
		defer cancel()
		return waitOut(ctx, arguments[1])
	default:
		return fmt.Errorf("%q is none of `list`, `run ROW NODE` and `wait NODE`", arguments)
	}
}

func list() error {
	printer := json.NewEncoder(os.Stdout)
	printer.SetEscapeHTML(false)
	for _, r := range rows {
		p := r.patience
		held := r.hold.Seconds() / float64(p.factor())
		row := listed{r.id, r.who, r.as, r.send.words, p.words(), p.factor(), p.isEndless(), r.looks, r.owns, r.taint, held}
		if err := printer.Encode(row); err != nil {
			return err
		}
	}
	return nil
}

// play runs a row until its program gives up. When standard input ends, so does the row.
func play(r row, node string) error {
	ctx, cancel := untilStdinEnds()
	defer cancel()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return err
	}
	if token := os.Getenv("TOKEN"); token != "" {
		config.BearerToken = token
	}
	c, err := newConn(config, r.as, node)
	if err != nil {
		return err
	}
	c.kubectl, c.kubeconfig = os.Getenv("KUBECTL"), os.Getenv("KUBECONFIG")
	send, err := r.send.prepare(ctx, c)
	if err != nil {
		return err
	}
	if r.looks {
		send = c.looking(send)
	}
	printer := printer{out: json.NewEncoder(os.Stdout)}
	did := r.patience.ask(ctx, printer.reporting(c, r, send))
	// Standard input may have ended, and with it the other context.
	then, err := did.told(context.Background(), c)
	if err != nil {
		return err
	}
	return printer.print(line{Then: then})
}

// untilStdinEnds returns a context that ends with standard input, and so with the process that started this one.
func untilStdinEnds() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return ctx, cancel
}

// printer prints lines of JSON.
type printer struct {
	mutex sync.Mutex
	out   *json.Encoder
}

func (p *printer) print(l line) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.out.Encode(l)
}

// reporting prints each try. A program that lifts only its own cordon first looks whose it is.
func (p *printer) reporting(c *conn, r row, send try) try {
	tries := 0
	return func(ctx context.Context) error {
		if r.owns != "" {
			node, err := c.get(ctx)
			if err != nil {
				return err
			}
			if _, isOwn := node.Annotations[r.owns]; !isOwn {
				return nil
			}
		}
		tries++
		before := len(c.asked())
		err := send(ctx)
		told := line{Try: tries}
		if asked := c.asked(); len(asked) > before {
			told.Answer = &asked[len(asked)-1]
		}
		if err != nil {
			told.Error = err.Error()
		}
		if err := p.print(told); err != nil {
			return err
		}
		return err
	}
}
