package main

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
)

// try sends the row's uncordon once. An error is what the program itself would take for a failure.
type try func(ctx context.Context) error

// patience is what a program does about an uncordon that failed.
type patience interface {
	// ask tries until the program is content or gives up.
	ask(ctx context.Context, once try) outcome
	// words say to people what the program does.
	words() string
	// factor says how many times faster than the program it runs.
	factor() int
	// isEndless says whether the program asks as long as the uncordon fails.
	isEndless() bool
}

// outcome is what a program did.
type outcome struct {
	// said is that in words.
	said string
	// isContent says that it takes its last try for a success.
	isContent bool
}

// stopped is the outcome of a program that was still trying when it was told to stop.
var stopped = outcome{said: "still asks"}

// done is the outcome of a program whose first try was a success.
var done = outcome{"done", true}

// untilSchedulable is what an endless program does: it ends when its uncordon passes, and when it finds that somebody else has uncordoned the node.
const untilSchedulable = "asks again until the node is schedulable"

// steps tries a fixed number of times, with the pauses of a backoff of Kubernetes' libraries between them.
type steps struct {
	backoff wait.Backoff
	// end says what the program does when all tries have failed.
	end     string
	speedUp int
}

func once(end string) steps { return steps{wait.Backoff{Steps: 1}, end, 1} }

func (s steps) ask(ctx context.Context, once try) outcome {
	backoff, tries := s.backoff, s.backoff.Steps
	for n := 1; ; n++ {
		err := once(ctx)
		switch {
		case err == nil && n == 1:
			return done
		case err == nil:
			return outcome{fmt.Sprintf("passes at try %d", n), true}
		case n >= tries:
			return outcome{said: s.words()}
		}
		if !sleep(ctx, backoff.Step()/time.Duration(s.speedUp)) {
			return stopped
		}
	}
}

func (s steps) words() string {
	if s.backoff.Steps == 1 {
		return s.end
	}
	return fmt.Sprintf("%d tries, then %s", s.backoff.Steps, s.end)
}

func (s steps) factor() int { return s.speedUp }

func (steps) isEndless() bool { return false }

// within tries at an interval until a time is over.
type within struct {
	interval, bound time.Duration
	end             string
}

func (w within) ask(ctx context.Context, once try) outcome {
	deadline := time.Now().Add(w.bound)
	for first := true; ; first = false {
		err := once(ctx)
		switch {
		case err == nil && first:
			return done
		case err == nil:
			return outcome{"passes within its time", true}
		case time.Now().After(deadline):
			return outcome{said: w.words()}
		}
		if !sleep(ctx, w.interval) {
			return stopped
		}
	}
}

func (w within) words() string {
	return fmt.Sprintf("every %d ms for %.0f s, then %s", w.interval.Milliseconds(), w.bound.Seconds(), w.end)
}

func (within) factor() int { return 1 }

func (within) isEndless() bool { return false }

// queue is a controller's work queue: a failed item comes back after a pause that doubles, without an end.
type queue struct {
	base, longest time.Duration
	speedUp       int
	said          string
}

// defaultQueue has the pauses of client-go's and controller-runtime's default limiter.
func defaultQueue() queue {
	return queue{5 * time.Millisecond, 1000 * time.Second, 1, untilSchedulable}
}

func (q queue) ask(ctx context.Context, once try) outcome {
	scale := time.Duration(q.speedUp)
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[string](q.base/scale, q.longest/scale)
	items := workqueue.NewTypedRateLimitingQueue(limiter)
	stop := context.AfterFunc(ctx, items.ShutDown)
	defer stop()
	items.Add("node")
	for first := true; ; first = false {
		item, isOver := items.Get()
		if isOver {
			return stopped
		}
		err := once(ctx)
		items.Done(item)
		switch {
		case err == nil && first:
			return done
		case err == nil:
			return outcome{q.said, true}
		}
		items.AddRateLimited(item)
	}
}

func (q queue) words() string { return q.said }

func (q queue) factor() int { return q.speedUp }

func (queue) isEndless() bool { return true }

// job is system-upgrade-controller's: the uncordon belongs to a Job that is collected some time after its end, and then runs again.
type job struct {
	queue
	run, kept time.Duration
}

// jobsMax is how many Jobs run at most. The second begins after the first hold is over in every case that is tried.
const jobsMax = 3

func (j job) ask(ctx context.Context, once try) outcome {
	scale := time.Duration(j.speedUp)
	for n := 1; n <= jobsMax; n++ {
		if !sleep(ctx, j.run/scale) {
			return stopped
		}
		kept, cancel := context.WithTimeout(ctx, j.kept/scale)
		now := j.queue.ask(kept, once)
		cancel()
		switch {
		case ctx.Err() != nil || now.isContent && n == 1:
			return now
		case now.isContent:
			return outcome{fmt.Sprintf("its Job is collected and runs again, Job %d finds the node schedulable or passes", n), true}
		}
	}
	return outcome{said: fmt.Sprintf("%d Jobs are collected, none passes", jobsMax)}
}

func (j job) words() string {
	return fmt.Sprintf("%s; its Job is collected after %.0f min, and then runs again", j.said, j.kept.Minutes())
}

// looking makes a try fail whose uncordon was accepted and had no effect, for a program that looks again whether it took.
func (c *conn) looking(send try) try {
	return func(ctx context.Context) error {
		if err := send(ctx); err != nil {
			return err
		}
		node, err := c.get(ctx)
		if err == nil && node.Spec.Unschedulable {
			return fmt.Errorf("%s is still cordoned", c.node)
		}
		return err
	}
}

// told says what a program did, in view of the answers that it got, and of the node as it is then.
func (o outcome) told(ctx context.Context, c *conn) (string, error) {
	asked := c.asked()
	switch {
	case c.exit != "":
		return c.exit, nil
	case !o.isContent:
		return o.said, nil
	case len(asked) == 0:
		return "nothing to do", nil
	case len(asked) == 1 && asked[0].Code == http.StatusOK:
		return done.said, nil
	case asked[len(asked)-1].Code == http.StatusOK:
		return o.said, nil
	}
	node, err := c.get(ctx)
	if err != nil {
		return "", err
	}
	if node.Spec.Unschedulable {
		return "takes it for done after the denial", nil
	}
	return o.said, nil
}

// sleep returns false if the context ends first.
func sleep(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// repeated is a controller that begins its steps anew after a pause, without an end.
type repeated struct {
	steps
	pause time.Duration
}

func (r repeated) ask(ctx context.Context, once try) outcome {
	for first := true; ; first = false {
		now := r.steps.ask(ctx, once)
		switch {
		case now == stopped || now.isContent && first:
			return now
		case now.isContent:
			return outcome{untilSchedulable, true}
		}
		if !sleep(ctx, r.pause/time.Duration(r.speedUp)) {
			return stopped
		}
	}
}

func (r repeated) words() string {
	return fmt.Sprintf("%d tries, and so again after %.0f min, until the node is schedulable", r.backoff.Steps, r.pause.Minutes())
}

func (repeated) isEndless() bool { return true }
