package clients

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	recipe "go.etcd.io/etcd/client/v3/experimental/recipes"

	"raftsman.dev/hack/e2e/members"
)

// open opens a session of package concurrency: a lease that is kept alive.
func (s *session) open() *concurrency.Session {
	s.Helper()
	o, err := concurrency.NewSession(s.c, concurrency.WithTTL(5), concurrency.WithContext(s.ctx))
	s.must(err)
	return o
}

// mutex: several sessions increment a number that only their mutex protects, while the leader changes.
func (s *session) mutex() {
	const workers, each = 4, 5
	one, two := s.open(), s.open()
	defer one.Close()
	first, second := concurrency.NewMutex(one, "mutex/try"), concurrency.NewMutex(two, "mutex/try")
	s.must(first.TryLock(s.ctx))
	is(s, "the error", errors.Is(second.TryLock(s.ctx), concurrency.ErrLocked), true)
	is(s, "whether the holder owns it", s.owns(first), true)
	is(s, "whether the other owns it", s.owns(second), false)
	s.must(first.Unlock(s.ctx))
	s.must(second.Lock(s.ctx))
	one.Orphan()
	s.must(two.Close())
	is(s, "the key after its session", s.get(second.Key()), "-")

	s.put("mutex/n", "0")
	var all sync.WaitGroup
	failed := make(chan error, workers)
	for range workers {
		o := s.open()
		defer o.Close()
		all.Go(func() { failed <- s.increment(concurrency.NewMutex(o, "mutex/lock"), each) })
	}
	s.g.lead(s.g.members[(indexOf(s.g, leaderOf(s.g))+1)%size])
	all.Wait()
	for range workers {
		s.must(<-failed)
	}
	is(s, "the number", s.get("mutex/n"), strconv.Itoa(workers*each))
}

func indexOf(g *group, m *member) int { return slices.Index(g.members, m) }

func (s *session) owns(m *concurrency.Mutex) bool {
	s.Helper()
	r, err := s.c.Txn(s.ctx).If(m.IsOwner()).Commit()
	s.must(err)
	return r.Succeeded
}

// increment adds 1 to a number under a mutex, that many times. Everything is repeated whose outcome is not known, as when
// the leader changes and etcd drops a proposal: a session locks and unlocks one key of its own, and under the mutex nobody
// else changes the number.
func (s *session) increment(m *concurrency.Mutex, times int) error {
	for range times {
		if err := members.Poll(s.ctx, 0, m.Lock); err != nil {
			return fmt.Errorf("lock: %w", err)
		}
		r, err := s.c.Get(s.ctx, "mutex/n")
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(r.Kvs[0].Value))
		if err != nil {
			return err
		}
		err = members.Poll(s.ctx, each, func(ctx context.Context) error {
			_, err := s.c.Put(ctx, "mutex/n", strconv.Itoa(n+1))
			return err
		})
		if err != nil {
			return err
		}
		if err := members.Poll(s.ctx, 0, m.Unlock); err != nil {
			return fmt.Errorf("unlock: %w", err)
		}
	}
	return nil
}

// election: the second leads once the first resigns, and the third once the second's session ends.
func (s *session) election() {
	var sessions []*concurrency.Session
	var elections []*concurrency.Election
	for range 3 {
		o := s.open()
		defer o.Close()
		sessions, elections = append(sessions, o), append(elections, concurrency.NewElection(o, "election/"))
	}
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	seen := elections[0].Observe(ctx)
	observe := func(want string) {
		s.Helper()
		for r := range seen {
			if string(r.Kvs[0].Value) == want {
				return
			}
		}
		s.Fatalf("%s is not seen to lead", want)
	}
	s.must(elections[0].Campaign(s.ctx, "first"))
	observe("first")
	s.must(elections[0].Proclaim(s.ctx, "first still"))
	observe("first still")
	won := []chan error{nil, make(chan error, 1), make(chan error, 1)}
	go func() { won[1] <- elections[1].Campaign(s.ctx, "second") }()
	s.g.until("the second stands", func(ctx context.Context) error {
		r, err := s.c.Get(ctx, "election/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && r.Count != 2 {
			err = fmt.Errorf("%d stand", r.Count)
		}
		return err
	})
	go func() { won[2] <- elections[2].Campaign(s.ctx, "third") }()
	s.must(elections[0].Resign(s.ctx))
	s.must(<-won[1])
	observe("second")
	leader, err := elections[0].Leader(s.ctx)
	s.must(err)
	is(s, "the leader", string(leader.Kvs[0].Value), "second")
	s.must(sessions[1].Close())
	s.must(<-won[2])
	observe("third")
}

// stm: transfers of several at once keep the sum.
func (s *session) stm() {
	const accounts, workers, each = 3, 4, 5
	for i := range accounts {
		s.put(fmt.Sprintf("stm/%d", i), "100")
	}
	failed := make(chan error, workers)
	for w := range workers {
		go func() {
			for i := range each {
				from, to := fmt.Sprintf("stm/%d", (w+i)%accounts), fmt.Sprintf("stm/%d", (w+2*i+1)%accounts)
				if err := s.transfer(from, to, i); err != nil {
					failed <- err
					return
				}
			}
			failed <- nil
		}()
	}
	for range workers {
		s.must(<-failed)
	}
	sum := 0
	for i := range accounts {
		n, err := strconv.Atoi(s.get(fmt.Sprintf("stm/%d", i)))
		s.must(err)
		sum += n
	}
	is(s, "the sum", sum, 100*accounts)
}

// transfer moves an amount between two accounts. All reads of a try are at the revision of its first one, and a member
// that has not come so far refuses them, on both systems; another try may meet another member.
func (s *session) transfer(from, to string, amount int) error {
	if from == to {
		return nil
	}
	for {
		_, err := concurrency.NewSTM(s.c, func(tx concurrency.STM) error {
			a, _ := strconv.Atoi(tx.Get(from))
			b, _ := strconv.Atoi(tx.Get(to))
			tx.Put(from, strconv.Itoa(a-amount))
			tx.Put(to, strconv.Itoa(b+amount))
			return nil
		}, concurrency.WithIsolation(concurrency.SerializableSnapshot), concurrency.WithAbortContext(s.ctx))
		if !errors.Is(err, rpctypes.ErrFutureRev) || s.ctx.Err() != nil {
			return err
		}
	}
}

// recipes: a barrier, queues, and a mutex of readers and writers.
func (s *session) recipes() {
	barrier := recipe.NewBarrier(s.c, "recipe/barrier")
	s.must(barrier.Hold())
	is(s, "the error", errors.Is(barrier.Hold(), recipe.ErrKeyExists), true)
	released := make(chan error, 1)
	go func() { released <- recipe.NewBarrier(s.c, "recipe/barrier").Wait() }()
	s.must(barrier.Release())
	s.must(<-released)

	queue := recipe.NewQueue(s.c, "recipe/queue")
	for i := range 3 {
		s.must(queue.Enqueue(strconv.Itoa(i)))
	}
	for i := range 3 {
		got, err := queue.Dequeue()
		s.must(err)
		is(s, "the head of the queue", got, strconv.Itoa(i))
	}
	late := make(chan string, 1)
	go func() {
		got, err := queue.Dequeue()
		late <- fmt.Sprint(got, err)
	}()
	s.must(queue.Enqueue("late"))
	is(s, "what was waited for", <-late, "late<nil>")

	ranked := recipe.NewPriorityQueue(s.c, "recipe/ranked")
	for _, rank := range []uint16{2, 1, 2, 0} {
		s.must(ranked.Enqueue(strconv.Itoa(int(rank)), rank))
	}
	for _, want := range []string{"0", "1", "2", "2"} {
		got, err := ranked.Dequeue()
		s.must(err)
		is(s, "the head of the ranked queue", got, want)
	}

	one, two := s.open(), s.open()
	defer one.Close()
	defer two.Close()
	reader, writer := recipe.NewRWMutex(one, "recipe/rw"), recipe.NewRWMutex(two, "recipe/rw")
	s.must(reader.RLock())
	locked := make(chan error, 1)
	go func() { locked <- writer.Lock() }()
	s.must(reader.RUnlock())
	s.must(<-locked)
	s.must(writer.Unlock())
}
