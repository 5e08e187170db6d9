package kubestore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	workers  = 32
	oneTry   = 15 * time.Second // of a request
	allTries = 90 * time.Second // of one object
	between  = 50 * time.Millisecond
)

// target is one object of the load.
type target struct {
	kind kind
	name string
}

// work is what one phase of the load has done.
type work struct {
	began, ended time.Time
	mu           struct {
		sync.Mutex
		acked   map[string]time.Time // by name
		retries map[string]int       // by what was answered
		failed  []error
	}
}

// try asks once; again says that an earlier try has failed, so that this one may find its work done.
type try func(ctx context.Context, t target, again bool) error

// perform does something with every target, many at once, and again where the API server could not. It goes on when
// some fail, so that one figure more is known.
func perform(ctx context.Context, targets []target, do try) *work {
	w := &work{began: time.Now()}
	w.mu.acked, w.mu.retries = map[string]time.Time{}, map[string]int{}
	queue := make(chan target)
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for t := range queue {
				w.insist(ctx, t, do)
			}
		})
	}
	for _, t := range targets {
		queue <- t
	}
	close(queue)
	all.Wait()
	w.ended = time.Now()
	return w
}

// insist tries until it is done, or cannot be done.
func (w *work) insist(ctx context.Context, t target, do try) {
	ctx, cancel := context.WithTimeout(ctx, allTries)
	defer cancel()
	pause := time.NewTicker(between)
	defer pause.Stop()
	for again := false; ; again = true {
		err := do(ctx, t, again)
		if err == nil {
			w.mu.Lock()
			w.mu.acked[t.name] = time.Now()
			w.mu.Unlock()
			return
		}
		if final(err) || ctx.Err() != nil {
			w.mu.Lock()
			w.mu.failed = append(w.mu.failed, fmt.Errorf("%s %s: %w", t.kind.name, t.name, err))
			w.mu.Unlock()
			return
		}
		w.mu.Lock()
		w.mu.retries[gist(err, t.name)]++
		w.mu.Unlock()
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// final says that another try would be answered the same.
func final(err error) bool {
	return apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.IsConflict(err) ||
		apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err)
}

// gist is an answer without what is different each time.
func gist(err error, name string) string {
	const enough = 160
	text := strings.ReplaceAll(err.Error(), name, "…")
	return text[:min(len(text), enough)]
}

// create makes one object. That it exists is well only where an earlier try may have made it.
func create(api client.Client) try {
	return func(ctx context.Context, t target, again bool) error {
		ctx, cancel := context.WithTimeout(ctx, oneTry)
		defer cancel()
		err := api.Create(ctx, t.kind.one(t.name))
		if again && apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	}
}

// remove deletes one object. That there is none is well only where an earlier try may have deleted it: else an object
// whose creation was acknowledged is lost.
func remove(api client.Client) try {
	return func(ctx context.Context, t target, again bool) error {
		ctx, cancel := context.WithTimeout(ctx, oneTry)
		defer cancel()
		err := api.Delete(ctx, t.kind.one(t.name))
		if again && apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
}

// rate is how many were done a second.
func (w *work) rate() float64 { return float64(len(w.mu.acked)) / w.ended.Sub(w.began).Seconds() }

// gap is the longest time in which nothing was acknowledged.
func (w *work) gap() time.Duration {
	at := []time.Time{w.began, w.ended}
	for _, x := range w.mu.acked {
		at = append(at, x)
	}
	slices.SortFunc(at, time.Time.Compare)
	var longest time.Duration
	for i := range at[1:] {
		longest = max(longest, at[i+1].Sub(at[i]))
	}
	return longest
}

// tried says what was answered to the tries that failed.
func (w *work) tried() string {
	var all []string
	for text, n := range w.mu.retries {
		all = append(all, fmt.Sprintf("%d× %s", n, text))
	}
	slices.Sort(all)
	if len(all) == 0 {
		return "nothing had to be tried again"
	}
	return "tried again after:\n    " + strings.Join(all, "\n    ")
}

// at is a quantile of sorted times.
func at(sorted []time.Duration, quantile float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(quantile*float64(len(sorted))))]
}

// TestPerform lets tries fail in the ways that the API server has.
func TestPerform(t *testing.T) {
	cached, _ := kinds()
	busy := apierrors.NewInternalError(errors.New("etcdserver: leader changed"))
	gone := apierrors.NewNotFound(resource(cached), "x")
	var targets []target
	for i := range 100 {
		targets = append(targets, target{cached, fmt.Sprint(i)})
	}
	w := perform(t.Context(), targets, func(_ context.Context, x target, again bool) error {
		switch {
		case x.name == "7":
			return gone
		case strings.HasSuffix(x.name, "3") && !again:
			return busy
		}
		return nil
	})
	if len(w.mu.acked) != 99 || len(w.mu.failed) != 1 || !apierrors.IsNotFound(w.mu.failed[0]) {
		t.Errorf("%d are done, failed: %v", len(w.mu.acked), w.mu.failed)
	}
	if !strings.Contains(w.tried(), "10× ") || !strings.Contains(w.tried(), "leader changed") {
		t.Errorf("it says %s", w.tried())
	}
	if w.gap() < between/2 || w.rate() <= 0 {
		t.Errorf("gap %v, rate %v", w.gap(), w.rate())
	}
}

func TestQuantile(t *testing.T) {
	all := []time.Duration{1, 2, 3, 4}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 3, 0.99: 4, 1: 4} {
		if got := at(all, q); got != want {
			t.Errorf("quantile %v is %v, want %v", q, got, want)
		}
	}
	if at(nil, 0.5) != 0 {
		t.Error("a quantile of nothing")
	}
}
