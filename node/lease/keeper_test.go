package lease

import (
	"errors"
	"maps"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"raftsman.dev/node/kv"
)

func grant(id, ttl int64) kv.LeaseChange {
	return kv.LeaseChange{Lease: kv.Lease{ID: id, TTL: ttl}}
}

func revoke(ids ...int64) []kv.LeaseChange {
	var cs []kv.LeaseChange
	for _, id := range ids {
		cs = append(cs, kv.LeaseChange{Lease: kv.Lease{ID: id}, Revoked: true})
	}
	return cs
}

// many makes a keeper with n leases of one TTL that leads from 0 on.
func many(n int, ttl int64) *Keeper {
	k := New(Options{})
	k.Reset(func(yield func(kv.Lease) bool) {
		for i := range n {
			if !yield(kv.Lease{ID: int64(i)*0x9e3779b97f4a7c1 + 1, TTL: ttl}) {
				return
			}
		}
	})
	k.Reign(1, 0)
	return k
}

// TestMassExpiry: a hundred thousand leases that run out at once go out in bounded batches, each once, and with a log
// that answers every 100 ms they are gone within 10 s.
func TestMassExpiry(t *testing.T) {
	const n = 100_000
	k := many(n, 10)
	seen := map[int64]bool{}
	now := 11 * time.Second // TTL and the stillness of the reign
	for at := time.Duration(0); at < now; at += k.opt.Pause / 2 {
		if w, _ := k.Work(at); !w.Empty() {
			t.Fatalf("%d expired at %v", len(w.Expired), at)
		}
	}
	end := now + 10*time.Second
	for ; len(k.leases) > 0 && now < end; now += 100 * time.Millisecond {
		var round []int64
		for next := now; next == now; {
			var w Work
			if w, next = k.Work(now); len(w.Expired) > k.opt.Batch {
				t.Fatalf("%d in a batch", len(w.Expired))
			}
			round = append(round, w.Expired...)
		}
		if len(round) > k.opt.InFlight {
			t.Fatalf("%d in flight", len(round))
		}
		for _, id := range round {
			if seen[id] {
				t.Fatalf("lease %d again", id)
			}
			seen[id] = true
		}
		k.Changed(revoke(round...), now)
	}
	if len(seen) != n || len(k.leases) != 0 || len(k.queue) != 0 {
		t.Fatalf("%d handed out, %d left, %d queued, at %v", len(seen), len(k.leases), len(k.queue), now)
	}
	t.Logf("gone after %v", now-11*time.Second)
}

// TestEvenRate: however often Work is called and however fast the log answers, of what runs out at once a batch goes out
// each Every, after those that make up for the time in which nothing was due; and so does what waited for a slow log.
func TestEvenRate(t *testing.T) {
	k := many(395, 1)
	k.opt.Batch, k.opt.InFlight, k.opt.Every = 10, 200, 5*time.Millisecond
	var handed []time.Duration
	var flying []Work
	now := time.Duration(0)
	for len(k.leases) > 0 && now < 3*time.Second {
		w, next := k.Work(now)
		if len(w.Expired) > 0 {
			handed = append(handed, now)
			flying = append(flying, w)
		}
		slow := len(handed) >= 20 && len(handed) < 30 // until so many are on their way that no more may go
		if k.expiring == k.opt.InFlight || !slow {
			if slow {
				now += 3 * k.opt.Every
			}
			for _, w := range flying {
				k.Changed(revoke(w.Expired...), now)
			}
			flying = nil
		}
		now = max(now, min(next, now+time.Millisecond))
		if len(w.Expired) == 0 {
			now++
		}
	}
	if len(handed) != 40 || len(k.leases) != 0 {
		t.Fatalf("%d batches, %d leases left; want 40 and 0", len(handed), len(k.leases))
	}
	for i := range handed {
		for j := range handed[:i] {
			if most := int((handed[i]-handed[j])/k.opt.Every) + 1 + catchUp; i-j+1 > most {
				t.Fatalf("batches %d to %d within %v, at most %d are allowed: %v", j, i, handed[i]-handed[j], most, handed)
			}
		}
	}
	if took, even := handed[39]-handed[0], time.Duration(39-catchUp)*k.opt.Every; took < even || took > even+k.opt.Every {
		t.Fatalf("took %v, want %v: %v", took, even, handed)
	}
}

// TestPauseGivesKeepAlivesTheirChance: a lease that should have run out while the process stood still is there for its
// keep-alive afterwards, and without one it expires once the stillness is over.
func TestPauseGivesKeepAlivesTheirChance(t *testing.T) {
	for _, alive := range []bool{true, false} {
		k := many(1, 2)
		for at := time.Duration(0); at < 2900*time.Millisecond; at += 100 * time.Millisecond {
			k.Work(at)
		}
		now := time.Hour
		w, next := k.Work(now)
		if !w.Empty() || next > now+k.opt.Pause/2 {
			t.Fatalf("%+v right after the pause, next %v", w, next)
		}
		if alive {
			if _, err := k.Renew(1, now+900*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
		k.Work(now + 600*time.Millisecond)
		if w, _ = k.Work(now + 1300*time.Millisecond); (len(w.Expired) == 0) != alive {
			t.Fatalf("alive %v, and expired %v", alive, w.Expired)
		}
	}
}

// TestChangeOfLeaderKeepsWhatIsLeft: a new leader counts from the newest checkpoint, and a renewal in between undoes it
// before it is confirmed.
func TestChangeOfLeaderKeepsWhatIsLeft(t *testing.T) {
	k := New(Options{Checkpoint: 10 * time.Second})
	k.Reign(1, 0)
	k.Changed([]kv.LeaseChange{grant(1, 60)}, 0)
	var w Work
	now := time.Duration(0)
	for ; w.Empty(); now += 500 * time.Millisecond {
		w, _ = k.Work(now)
	}
	if want := []Checkpoint{{1, 50}}; !slices.Equal(w.Checkpoints, want) {
		t.Fatalf("%+v, want %v", w, want)
	}
	if _, err := k.Renew(1, now); !errors.Is(err, ErrPending) {
		t.Fatalf("renewed while a checkpoint is in flight: %v", err)
	}
	if w, _ := k.Work(now); !w.Empty() {
		t.Fatalf("%+v before the checkpoint has landed", w)
	}
	written := kv.LeaseChange{Lease: kv.Lease{ID: 1, TTL: 60, Remaining: 50}}
	k.Changed([]kv.LeaseChange{written}, now)
	if w, _ = k.Work(now); !slices.Equal(w.Checkpoints, []Checkpoint{{1, 0}}) {
		t.Fatalf("%+v, want a checkpoint of 0", w)
	}
	other := New(Options{})
	other.Changed([]kv.LeaseChange{grant(1, 60), written}, 0)
	other.Reign(2, time.Hour)
	if granted, left, err := other.Left(1, time.Hour); granted != 60 || left != 50 || err != nil {
		t.Fatalf("%d of %d left at the next leader: %v", left, granted, err)
	}
	k.Changed([]kv.LeaseChange{grant(1, 60)}, now)
	if ttl, err := k.Renew(1, now); ttl != 60 || err != nil {
		t.Fatalf("renewed for %d: %v", ttl, err)
	}
}

// TestOnlyTheLeaderAnswers: without a reign nothing is counted, and a snapshot ends it.
func TestOnlyTheLeaderAnswers(t *testing.T) {
	k := New(Options{})
	k.Changed([]kv.LeaseChange{grant(1, 1)}, 0)
	silent := func() {
		t.Helper()
		_, err := k.Renew(1, time.Hour)
		_, _, err2 := k.Left(1, time.Hour)
		w, next := k.Work(time.Hour)
		if !errors.Is(err, ErrNotLeader) || !errors.Is(err2, ErrNotLeader) || !w.Empty() || next != Never {
			t.Fatalf("%v, %v, %+v, %v", err, err2, w, next)
		}
	}
	silent()
	k.Reign(7, time.Hour)
	if _, err := k.Renew(1, time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := k.Renew(2, time.Hour); !errors.Is(err, ErrNotFound) {
		t.Fatal(err)
	}
	k.Abdicate()
	silent()
	k.Reign(8, time.Hour)
	k.Reset(slices.Values([]kv.Lease{{ID: 1, TTL: 5}}))
	silent()
}

// TestTheLongestLease: the longest TTL that etcd grants does not overflow, however long the process has run.
func TestTheLongestLease(t *testing.T) {
	k := New(Options{})
	now := 20 * 365 * 24 * time.Hour
	k.Reign(1, now)
	k.Changed([]kv.LeaseChange{grant(1, 9_000_000_000)}, now)
	if w, next := k.Work(now + time.Second/2); !w.Empty() || next < now {
		t.Fatalf("%+v, next %v", w, next)
	}
	if _, left, err := k.Left(1, now+time.Second); left < 8_000_000_000 || err != nil {
		t.Fatal(left, err)
	}
}

// TestOptionsAreChecked: what cannot work is refused.
func TestOptionsAreChecked(t *testing.T) {
	good := Options{}
	good.Default()
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []Options{
		{Pause: 1}, {Checkpoint: 1}, {Batch: -1}, {Batch: 10, InFlight: 9}, {Pause: -time.Second},
		{Every: -1}, {Pause: time.Second, Every: 2 * time.Second}, {Grain: -1}, {Pause: time.Second, Grain: 2 * time.Second},
	} {
		bad.Default()
		if bad.Validate() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestBytesPerLease: a million leases have room in memory.
func TestBytesPerLease(t *testing.T) {
	const n = 200_000
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	k := many(n, 60)
	per := float64(heap()-before) / n
	t.Logf("%.0f bytes for each lease", per)
	if per > 160 {
		t.Errorf("%.0f bytes for each lease, want at most 160", per)
	}
	runtime.KeepAlive(k)
}

func BenchmarkRenew(b *testing.B) {
	k := many(1_000_000, 60)
	ids := slices.Collect(maps.Keys(k.leases))
	rng := rand.New(rand.NewPCG(1, 1))
	rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	now := time.Duration(0)
	for i := 0; b.Loop(); i++ {
		now += 10 * time.Microsecond // 100,000 in a second, as they come
		if _, err := k.Renew(ids[i%len(ids)], now); err != nil {
			b.Fatal(err)
		}
		if i%10_000 == 0 {
			k.Work(now)
		}
	}
}

func BenchmarkReign(b *testing.B) {
	k := many(1_000_000, 60)
	for i := uint64(0); b.Loop(); i++ {
		k.Reign(i+2, time.Duration(i))
	}
}

func BenchmarkWorkOfABatch(b *testing.B) {
	k := many(1_000_000, 1)
	k.Work(time.Second)
	now := 2 * time.Second
	for at := time.Second; at <= now; at += k.opt.Pause / 2 {
		k.clock.read(at)
	}
	for b.Loop() {
		w, _ := k.Work(now)
		k.Failed(w)
	}
}
