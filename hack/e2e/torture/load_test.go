//go:build linux

package torture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"raftsman.dev/hack/e2e/history"
	"raftsman.dev/hack/e2e/load"
)

// judgment bounds how long a history may take to be judged.
const judgment = 5 * time.Minute

// running is a recorded load that is on.
type running struct {
	*load.Run
	g *group
}

// load starts a recorded load on all members: few clients, and registers that are used for a few seconds each, so
// that the history of a long run can be judged.
func (g *group) load() running {
	g.t.Helper()
	g.loads++
	r, err := load.Start(load.Plan{
		Endpoints: g.endpoints(), Prefix: fmt.Sprintf("torture/%d", g.loads), Writers: 5, Readers: 3, WritesPerSecond: 150, Timeout: time.Second,
		Registers: 4, RegisterLife: 4 * time.Second, Redial: 200 * time.Millisecond, Seed: 1,
	})
	if err != nil {
		g.t.Fatal(err)
	}
	x := running{r, g}
	g.t.Cleanup(x.abandon)
	x.more(50)
	return x
}

// abandon ends the load of a test that did not come to its end; one that was stopped has nothing left to end.
func (r running) abandon() {
	if !r.g.t.Failed() {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // nothing need be read back
	_, _ = r.Stop(ctx)
}

// more waits until so many more writes have been acknowledged.
func (r running) more(n int) {
	r.g.t.Helper()
	want := r.Stats().Acks + n
	r.g.until(fmt.Sprintf("%d more writes are acknowledged", n), func(context.Context) error {
		if s := r.Stats(); s.Acks < want {
			return fmt.Errorf("%d of %d; the last at %v of %v", s.Acks, want, s.LastAck.Round(time.Millisecond), s.Now.Round(time.Millisecond))
		}
		return nil
	})
}

// stop ends the load and judges its history.
func (r running) stop() history.Figures {
	r.g.t.Helper()
	ctx, cancel := context.WithTimeout(r.g.t.Context(), patience)
	defer cancel()
	result, err := r.Stop(ctx)
	if err != nil {
		r.g.t.Fatal(err)
	}
	figures := result.History.Figures(result.Length)
	began := time.Now()
	if err := errors.Join(result.History.CheckLinearizable(judgment), result.History.CheckKept(result.Final)); err != nil {
		r.g.t.Errorf("%v\nthe history is %s", err, keep(result.History))
	}
	say("torture:   %v in %v, judged in %v", figures, result.Length.Round(time.Millisecond), time.Since(began).Round(time.Millisecond))
	return figures
}

// keep stores a history that failed its verdict where it outlives the run.
func keep(h history.History) string {
	file := kept(fmt.Sprintf("torture-%d.jsonl", time.Now().Unix()))
	err := os.MkdirAll(filepath.Dir(file), 0o755)
	if err != nil {
		return err.Error()
	}
	f, err := os.Create(file)
	if err != nil {
		return err.Error()
	}
	if err := errors.Join(h.Write(f), f.Close()); err != nil {
		return err.Error()
	}
	return "in " + file
}

// steady demands that the group served throughout.
func (r running) steady(f history.Figures, gap time.Duration) {
	r.g.t.Helper()
	if f.Gap.Length() > gap {
		r.g.t.Errorf("no write was acknowledged for %v: it may be %v", f.Gap, gap)
	}
}
