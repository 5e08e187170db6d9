package kubestore

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// maxFaults bounds how many faults are kept; one is enough to fail.
const maxFaults = 20

// ledger is what an informer knows of the objects of one kind, and everything that it should not have been told.
// Nobody changes an object, and no name is used twice: so each is to be added once and deleted once.
type ledger struct {
	mu struct {
		sync.Mutex
		objects map[string]*entry
		version uint64 // the newest that was heard of
		faults  []string
		streams int // watches that were opened
		relists int // how often the watch could not go on where it had ended
		changed chan struct{}
	}
}

// entry is the life of one object.
type entry struct {
	uid            types.UID
	added, deleted time.Time
}

func newLedger() *ledger {
	l := &ledger{}
	l.mu.objects, l.mu.changed = map[string]*entry{}, make(chan struct{})
	return l
}

func (l *ledger) faultLocked(format string, args ...any) {
	if len(l.mu.faults) < maxFaults {
		l.mu.faults = append(l.mu.faults, fmt.Sprintf(format, args...))
	}
}

// event notes what a watch says of an object.
func (l *ledger) event(kind watch.EventType, name string, uid types.UID, version uint64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version <= l.mu.version {
		l.faultLocked("%s of %s at version %d came after %d: repeated or out of order", kind, name, version, l.mu.version)
	}
	l.mu.version = max(l.mu.version, version)
	switch kind {
	case watch.Added:
		l.addLocked(name, uid, at)
	case watch.Deleted:
		l.deleteLocked(name, uid, at)
	default:
		l.faultLocked("%s of %s, which nobody has changed", kind, name)
	}
	close(l.mu.changed)
	l.mu.changed = make(chan struct{})
}

// bookmark notes that everything up to a version has been heard.
func (l *ledger) bookmark(version uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version < l.mu.version {
		l.faultLocked("a bookmark at version %d came after %d", version, l.mu.version)
	}
	l.mu.version = max(l.mu.version, version)
}

// list notes what is there at a version, as an informer does when it begins and when its watch cannot go on.
func (l *ledger) list(there map[string]types.UID, version uint64, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if version < l.mu.version {
		l.faultLocked("a list at version %d came after %d", version, l.mu.version)
	}
	l.mu.version = max(l.mu.version, version)
	for name, uid := range there {
		if e := l.mu.objects[name]; e == nil {
			l.addLocked(name, uid, at)
		} else if !e.deleted.IsZero() || e.uid != uid {
			l.faultLocked("%s (%s) is listed, and was deleted as %s", name, uid, e.uid)
		}
	}
	for name, e := range l.mu.objects {
		if _, ok := there[name]; !ok && e.deleted.IsZero() {
			e.deleted = at
		}
	}
	close(l.mu.changed)
	l.mu.changed = make(chan struct{})
}

func (l *ledger) addLocked(name string, uid types.UID, at time.Time) {
	if e := l.mu.objects[name]; e != nil {
		l.faultLocked("%s is added again, as %s after %s", name, uid, e.uid)
		return
	}
	l.mu.objects[name] = &entry{uid: uid, added: at}
}

func (l *ledger) deleteLocked(name string, uid types.UID, at time.Time) {
	e := l.mu.objects[name]
	switch {
	case e == nil:
		l.faultLocked("%s is deleted and was never added", name)
	case !e.deleted.IsZero():
		l.faultLocked("%s is deleted again", name)
	case e.uid != uid:
		l.faultLocked("%s is deleted as %s and was added as %s", name, uid, e.uid)
	default:
		e.deleted = at
	}
}

// missing says how many of the names have not been added yet, or not deleted, and a channel that is closed with the
// next change.
func (l *ledger) missing(names []string, deleted bool) (n int, example string, changed <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, name := range names {
		if e := l.mu.objects[name]; e == nil || deleted && e.deleted.IsZero() {
			n, example = n+1, name
		}
	}
	return n, example, l.mu.changed
}

// delays are the times from when a change was acknowledged to when the watch told of it; none is below zero.
func (l *ledger) delays(acked map[string]time.Time, deleted bool) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []time.Duration
	for name, at := range acked {
		e := l.mu.objects[name]
		if e == nil {
			continue
		}
		seen := e.added
		if deleted {
			seen = e.deleted
		}
		all = append(all, max(0, seen.Sub(at)))
	}
	slices.Sort(all)
	return all
}

// strangers are how many objects are known that nobody has made.
func (l *ledger) strangers(made map[string]bool) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for name := range l.mu.objects {
		if !made[name] {
			n++
		}
	}
	return n
}

// TestLedger tells the ledger what a store may do wrong, each after a beginning without fault.
func TestLedger(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name, says string
		then       func(*ledger)
	}{
		{"nothing", "", func(*ledger) {}},
		{"the end of an object", "", func(l *ledger) { l.event(watch.Deleted, "a", "1", 11, now) }},
		{"a repetition", "repeated or out of order", func(l *ledger) { l.event(watch.Added, "a", "1", 10, now) }},
		{"an older event", "out of order", func(l *ledger) { l.event(watch.Added, "b", "2", 9, now) }},
		{"a second creation", "added again", func(l *ledger) { l.event(watch.Added, "a", "1", 11, now) }},
		{"a deletion of nothing", "never added", func(l *ledger) { l.event(watch.Deleted, "b", "2", 11, now) }},
		{"a deletion of another", "was added as", func(l *ledger) { l.event(watch.Deleted, "a", "2", 11, now) }},
		{"a second deletion", "deleted again", func(l *ledger) {
			l.event(watch.Deleted, "a", "1", 11, now)
			l.event(watch.Deleted, "a", "1", 12, now)
		}},
		{"a change", "nobody has changed", func(l *ledger) { l.event(watch.Modified, "a", "1", 11, now) }},
		{"a bookmark", "", func(l *ledger) { l.bookmark(10) }},
		{"an old bookmark", "a bookmark", func(l *ledger) { l.bookmark(9) }},
		{"an event below a bookmark", "out of order", func(l *ledger) {
			l.bookmark(20)
			l.event(watch.Deleted, "a", "1", 20, now)
		}},
		{"an old list", "a list at", func(l *ledger) { l.list(map[string]types.UID{"a": "1"}, 9, now) }},
		{"a list", "", func(l *ledger) { l.list(map[string]types.UID{"a": "1", "b": "2"}, 12, now) }},
		{"a list without it", "", func(l *ledger) { l.list(nil, 12, now) }},
		{"a list with what was deleted", "is listed", func(l *ledger) {
			l.event(watch.Deleted, "a", "1", 11, now)
			l.list(map[string]types.UID{"a": "1"}, 12, now)
		}},
	} {
		l := newLedger()
		l.list(nil, 5, now)
		l.event(watch.Added, "a", "1", 10, now)
		c.then(l)
		if got := strings.Join(l.mu.faults, "; "); (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", c.name, got, c.says)
		}
	}
}

func TestLedgerCounts(t *testing.T) {
	l := newLedger()
	at := time.Unix(1000, 0)
	l.event(watch.Added, "a", "1", 1, at.Add(3*time.Millisecond))
	l.event(watch.Added, "b", "2", 2, at)
	l.event(watch.Deleted, "a", "1", 3, at)
	if n, example, _ := l.missing([]string{"a", "b", "c"}, false); n != 1 || example != "c" {
		t.Errorf("%d are not added, such as %s", n, example)
	}
	if n, _, _ := l.missing([]string{"a", "b", "c"}, true); n != 2 {
		t.Errorf("%d are not deleted, want 2", n)
	}
	if d := l.delays(map[string]time.Time{"a": at, "b": at.Add(time.Second)}, false); !slices.Equal(d, []time.Duration{0, 3 * time.Millisecond}) {
		t.Errorf("delays %v", d)
	}
	if n := l.strangers(map[string]bool{"a": true}); n != 1 {
		t.Errorf("%d strangers, want b alone", n)
	}
}
