package kv

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"raftsman.dev/node/kv/seeds"
)

// power is a disk that loses power just before its n-th change: what may be found afterwards is kept, with
// what the store had promised and what it had been given by then.
type power struct {
	options func() Options // of the store on the disk
	mu      struct {
		sync.Mutex
		disk     *vfs.MemFS
		changes  int
		cutAt    int // 0: never
		rng      *rand.Rand
		keep     int // percent of what was not synced that survives
		promised uint64
		given    uint64
		found    *vfs.MemFS
		at       [2]uint64 // promised and given when the power went
	}
}

func newPower(seed uint64, cutAt int) *power {
	p := &power{}
	p.options = func() Options { return small(p.fs()) }
	p.mu.disk, p.mu.cutAt = vfs.NewCrashableMem(), cutAt
	p.mu.rng = rand.New(rand.NewPCG(seed, uint64(cutAt)))
	p.mu.keep = []int{0, 50, 100}[p.mu.rng.IntN(3)]
	return p
}

// fs is the disk as the store sees it.
func (p *power) fs() vfs.FS {
	return errorfs.Wrap(p.mu.disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
			p.change()
		}
		return nil
	}))
}

func (p *power) change() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.changes++
	if p.mu.changes == p.mu.cutAt {
		p.mu.at = [2]uint64{p.mu.promised, p.mu.given}
		p.mu.found = p.mu.disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: p.mu.keep, RNG: p.mu.rng})
	}
}

func (p *power) promise(at uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.promised = max(p.mu.promised, at)
}

func (p *power) give(at uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.given = max(p.mu.given, at)
}

func (p *power) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.found != nil
}

// story is one life of a store: it applies, flushes, receives a snapshot, closes and opens again. It ends
// early when the power goes.
type story struct {
	*pair
	chunks [][]byte // the state at entry jump, exported
	hash   string   // the state at the end
	jump   uint64
	stop   uint64 // the last entry before the snapshot
}

func newStory(t *testing.T, seed uint64) *story {
	st := &story{pair: &pair{t: t, seed: seed, gen: newGenerator(seed), twin: newModel()}, stop: 200, jump: 300}
	st.extend(300)
	s := mustOpen(t, "model", small(vfs.NewMem()))
	defer func() {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}()
	st.catchUp(s)
	v := s.View()
	defer v.Close()
	if err := v.Export(func(chunk []byte) error {
		st.chunks = append(st.chunks, append([]byte(nil), chunk...))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	st.extend(150)
	st.catchUp(s)
	st.compare(s)
	st.hash = hashOf(t, s)
	return st
}

var errPowerGone = errors.New("the power is gone")

// live tells the story on a disk.
func (st *story) live(p *power) error {
	s, err := Open("top/store", p.options())
	if err != nil {
		return err
	}
	err = st.apply(s, p, st.stop)
	if err == nil {
		err = st.install(s, p)
	}
	if err == nil {
		err = st.apply(s, p, uint64(len(st.log)))
	}
	if err := errors.Join(err, s.Close()); err != nil {
		return err
	}
	if s, err = Open("top/store", p.options()); err != nil {
		return err
	}
	return errors.Join(st.apply(s, p, uint64(len(st.log))), s.Close())
}

// apply goes on to entry last, in batches, and flushes now and then.
func (st *story) apply(s *Store, p *power, last uint64) error {
	for turn := 0; s.Applied().Index < last; turn++ {
		if p.gone() {
			return errPowerGone
		}
		at := s.Applied().Index
		n := min(12, last-at)
		p.give(at + n)
		if _, err := s.Apply(st.log[at:at+n], 0, nil); err != nil {
			return err
		}
		if turn%5 == 4 {
			if err := s.Flush(); err != nil {
				return err
			}
			p.promise(at + n)
		}
		durable, err := s.Durable()
		if err != nil {
			return err
		}
		p.promise(durable)
	}
	return nil
}

// install receives the exported state and switches to it.
func (st *story) install(s *Store, p *power) error {
	if p.gone() {
		return errPowerGone
	}
	in, err := s.BeginImport()
	if err != nil {
		return err
	}
	for _, chunk := range st.chunks {
		if err := in.Add(chunk); err != nil {
			return err
		}
	}
	if _, err := in.Finish(); err != nil {
		return err
	}
	p.give(st.jump)
	if err := s.Switch(in); err != nil {
		return err
	}
	p.promise(st.jump)
	return nil
}

// awake opens what was found after the power had gone and holds it to what was promised and given by then.
func (st *story) awake(found Options, promised, given uint64, cutAt int) {
	t := st.t
	s, err := Open("top/store", found)
	if err != nil {
		t.Fatalf("seed %d, cut at %d: open: %v", st.seed, cutAt, err)
	}
	at := s.Applied().Index
	if at < promised || at > given {
		t.Fatalf("seed %d, cut at %d: found entry %d; durable was %d, applied was %d", st.seed, cutAt, at, promised, given)
	}
	if durable, err := s.Durable(); err != nil || durable != at {
		t.Fatalf("seed %d, cut at %d: found entry %d, of which %d is durable (%v)", st.seed, cutAt, at, durable, err)
	}
	st.catchUp(s)
	if got := hashOf(t, s); got != st.hash {
		t.Fatalf("seed %d, cut at %d: replayed from entry %d to state %s, want %s", st.seed, cutAt, at, got, st.hash)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestPowerLoss: whenever the power goes, also while a snapshot takes the store's place, the store comes back
// with all it had called durable and nothing it had not been given, and the rest of the log leads it to the
// very same state.
func TestPowerLoss(t *testing.T) {
	for _, seed := range seeds.Of(t, 1) {
		st := newStory(t, seed)
		whole := newPower(seed, 0)
		if err := st.live(whole); err != nil {
			t.Fatal(err)
		}
		cuts := whole.mu.changes
		t.Logf("seed %d: %d places to cut", seed, cuts)
		for cutAt := 1 + int(seed)%cutEvery; cutAt <= cuts; cutAt += cutEvery {
			p := newPower(seed, cutAt)
			if err := st.live(p); err != nil && !errors.Is(err, errPowerGone) {
				t.Fatalf("seed %d, cut at %d: %v", seed, cutAt, err)
			}
			if p.gone() { // the store's own threads decide how many changes there are
				st.awake(small(p.mu.found), p.mu.at[0], p.mu.at[1], cutAt)
				names, err := p.mu.found.List("top/store")
				if err != nil || len(names) != 2 || strings.HasSuffix(strings.Join(names, " "), ".tmp") {
					t.Fatalf("seed %d, cut at %d: the store's directory holds %q (%v)", seed, cutAt, names, err)
				}
			}
		}
	}
}

// TestPowerLossWhileOpening: an existing store that is being opened changes no data, only Pebble's own files; whatever
// the power interrupts there, and whatever of it survives, the store opens again with all that it had.
func TestPowerLossWhileOpening(t *testing.T) {
	const dir = "top/store"
	disk := vfs.NewCrashableMem()
	s := mustOpen(t, dir, small(disk))
	mustApply(t, s, puts(1, 30, letter, "v"))
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	want := hashOf(t, s)
	mustClose(t, s)
	rng := rand.New(rand.NewPCG(1, 8))
	var mu sync.Mutex
	var found []*vfs.MemFS
	watched := errorfs.Wrap(disk, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			mu.Lock()
			defer mu.Unlock()
			for range 12 {
				found = append(found, disk.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
			}
		}
		return nil
	}))
	mustClose(t, mustOpen(t, dir, small(watched)))
	if len(found) < 100 {
		t.Fatalf("only %d places to cut", len(found)/12)
	}
	for i, after := range found {
		s, err := Open(dir, small(after))
		if err != nil {
			t.Fatalf("cut before change %d: %v", i/12, err)
		}
		if got := hashOf(t, s); got != want {
			t.Fatalf("cut before change %d: state %s, want %s", i/12, got, want)
		}
		mustClose(t, s)
	}
}
