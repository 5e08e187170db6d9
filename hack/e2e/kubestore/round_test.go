package kubestore

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"raftsman.dev/hack/e2e/kube"
)

const (
	pageSize  = 500
	maxPages  = 1_000
	listLimit = 15 * time.Second // of one request for a list or a page
)

// figures are what all rounds have in common.
type figures struct{ gap time.Duration }

// round creates all objects, lists them until the leader has been killed meanwhile, and deletes them.
func (s *stage) round(t *testing.T, number int, c *kube.StoreKiller, totals *figures) {
	t.Helper()
	var targets []target
	names := map[string][]string{}
	add := func(k kind, n int) {
		for i := range n {
			name := fmt.Sprintf("%s%d-%s-%05d", prefix, number, k.name, i)
			targets, names[k.name] = append(targets, target{k, name}), append(names[k.name], name)
		}
	}
	add(s.cached, *asked.objects)
	add(s.direct, *asked.objects/10)

	created := perform(t.Context(), targets, create(s.api))
	s.account(t, "created", created, totals)
	s.heard(t, names, created, false)
	s.lists(t, names, c)
	deleted := perform(t.Context(), targets, remove(s.api))
	s.account(t, "deleted", deleted, totals)
	s.heard(t, names, deleted, true)
	s.lists(t, map[string][]string{}, c)
	for _, i := range s.informers {
		i.ledger.mu.Lock()
		s.say("%s: %d watches were opened, %d times with a new list", i.kind.name, i.ledger.mu.streams, i.ledger.mu.relists)
		for _, f := range i.ledger.mu.faults {
			t.Errorf("the watch of %s: %s", i.kind.name, f)
		}
		i.ledger.mu.Unlock()
	}
}

// account tells what a phase has done, and fails the test for what it could not do.
func (s *stage) account(t *testing.T, what string, w *work, totals *figures) {
	t.Helper()
	totals.gap = max(totals.gap, w.gap())
	s.say("%s %d objects in %v: %.0f a second, longest gap %v; %s", what, len(w.mu.acked),
		w.ended.Sub(w.began).Round(100*time.Millisecond), w.rate(), w.gap().Round(time.Millisecond), w.tried())
	for i, err := range w.mu.failed {
		if i == 10 {
			t.Errorf("and %d more could not be %s", len(w.mu.failed)-i, what)
			break
		}
		t.Errorf("could not be %s: %v", what, err)
	}
}

// heard waits until the watches have told of everything, and says how soon they did.
func (s *stage) heard(t *testing.T, names map[string][]string, w *work, deleted bool) {
	t.Helper()
	for _, i := range s.informers {
		limit := time.NewTimer(patience)
		defer limit.Stop()
		for {
			n, example, changed := i.ledger.missing(names[i.kind.name], deleted)
			if n == 0 {
				break
			}
			select {
			case <-changed:
				continue
			case <-limit.C:
				t.Errorf("the watch of %s has not told of %d objects after %v (deleted: %v), such as %s", i.kind.name, n, patience, deleted, example)
			}
			break
		}
		made, acked := map[string]bool{}, map[string]time.Time{}
		for _, name := range names[i.kind.name] {
			made[name] = true
			if at, ok := w.mu.acked[name]; ok {
				acked[name] = at
			}
		}
		d := i.ledger.delays(acked, deleted)
		s.say("the watch of %s heard of %d, after their acknowledgement: median %v, p99 %v, longest %v", i.kind.name, len(d),
			at(d, 0.5).Round(time.Millisecond), at(d, 0.99).Round(time.Millisecond), at(d, 1).Round(time.Millisecond))
	}
}

// lists asks for all objects, whole and by pages, at least three times and until the leader has been killed once more,
// and demands that every answer is complete and no older than a write that was acknowledged before.
func (s *stage) lists(t *testing.T, names map[string][]string, c *kube.StoreKiller) {
	t.Helper()
	const atLeast = 3
	began, before := time.Now(), len(c.Killed())
	took := map[string][]time.Duration{}
	again := 0
	for n := 0; n < atLeast || len(c.Killed()) == before && time.Since(began) < 2**asked.every; n++ {
		for _, k := range []kind{s.cached, s.direct} {
			for _, page := range []int64{0, pageSize} {
				least, err := s.tick(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				d, tries, err := s.insistList(t.Context(), k, page, names[k.name], least)
				if err != nil {
					t.Fatalf("list %s by %d: %v", k.name, page, err)
				}
				again += tries
				how := k.name + " whole"
				if page > 0 {
					how = fmt.Sprintf("%s by %d", k.name, page)
				}
				took[how] = append(took[how], d)
			}
		}
	}
	for _, how := range slices.Sorted(maps.Keys(took)) {
		d := took[how]
		slices.Sort(d)
		s.say("%s were listed %d times: median %v, longest %v", how, len(d), at(d, 0.5).Round(time.Millisecond), at(d, 1).Round(time.Millisecond))
	}
	s.say("the leader was killed %d times meanwhile, and %d lists had to be tried again", len(c.Killed())-before, again)
}

// tick writes an object of a third kind and returns its version. No watch of the listed kinds hears of it, so that a
// cache learns by a request for progress only that it has missed nothing.
func (s *stage) tick(ctx context.Context) (version uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, allTries)
	defer cancel()
	retry := time.NewTicker(between)
	defer retry.Stop()
	for {
		o := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
		patch := fmt.Sprintf(`{"metadata":{"annotations":{"tick":%q}}}`, strconv.FormatInt(time.Now().UnixNano(), 10))
		err := s.api.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(patch)))
		if err == nil {
			return strconv.ParseUint(o.ResourceVersion, 10, 64)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return 0, err
		}
	}
}

// wrong is an answer that is not what was to be answered; it is not asked for again.
type wrong struct{ error }

// insistList lists until it is answered, and says how long the last try took.
func (s *stage) insistList(ctx context.Context, k kind, page int64, names []string, least uint64) (took time.Duration, again int, err error) {
	ctx, cancel := context.WithTimeout(ctx, allTries)
	defer cancel()
	retry := time.NewTicker(between)
	defer retry.Stop()
	for ; ; again++ {
		began := time.Now()
		there, version, err := s.list(ctx, k, page)
		if err == nil {
			return time.Since(began), again, complete(there, names, version, least)
		}
		if bad := (wrong{}); errors.As(err, &bad) {
			return 0, again, err
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return 0, again, err
		}
	}
}

// complete says what is missing in a list, or too much.
func complete(there map[string]types.UID, names []string, version, least uint64) error {
	if version < least {
		return fmt.Errorf("it is of version %d, older than %d that was acknowledged before", version, least)
	}
	for _, name := range names {
		if _, ok := there[name]; !ok {
			return fmt.Errorf("%s is not listed, of %d there are %d", name, len(names), len(there))
		}
	}
	if len(there) != len(names) {
		return fmt.Errorf("%d are listed where %d exist", len(there), len(names))
	}
	return nil
}

// list lists a kind, whole or by pages, with what the load has made.
func (s *stage) list(ctx context.Context, k kind, page int64) (there map[string]types.UID, version uint64, err error) {
	there = map[string]types.UID{}
	next := ""
	for range maxPages {
		list := k.list()
		one, cancel := context.WithTimeout(ctx, listLimit)
		err := s.api.List(one, list, &client.ListOptions{Namespace: namespace, Limit: page, Continue: next})
		cancel()
		if err != nil {
			return nil, 0, err
		}
		if k.name == s.direct.name {
			s.raw++
		} else if next == "" {
			s.consistent++
		}
		if err := collect(list, there); err != nil {
			return nil, 0, wrong{err}
		}
		at, err := strconv.ParseUint(list.GetResourceVersion(), 10, 64)
		if err != nil || version != 0 && at != version {
			return nil, 0, wrong{fmt.Errorf("a page of version %d follows one of %d: %w", at, version, err)}
		}
		version = at
		if next = list.GetContinue(); next == "" {
			return there, version, nil
		}
	}
	return nil, 0, wrong{fmt.Errorf("%d pages have no end", maxPages)}
}
