// Package load puts a recorded load on a store that speaks etcd's API, with the official Go client, and tells
// what became of every single operation.
//
// Writers write at a steady pace in sum, by turns to a key of their own, used once, and to registers that all
// writers share. Readers read both. Every attempt at an operation has the same short deadline, and how long one is
// tried again is the plan's.
package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"raftsman.dev/hack/e2e/history"
)

// Plan says what load to put on what.
type Plan struct {
	// Endpoints are URLs; every client gets all of them, each in another order.
	Endpoints []string `json:"endpoints"`
	// Prefix is where the run's keys are. It must be new, or what is found there cannot be judged.
	Prefix  string `json:"prefix"`
	Writers int    `json:"writers"`
	Readers int    `json:"readers"`
	// WritesPerSecond of all writers together; readers read as often.
	WritesPerSecond int           `json:"writesPerSecond"`
	Timeout         time.Duration `json:"timeout"` // of one attempt
	// Patience is how long a client goes on trying an operation that was not acknowledged, as clients do. Each attempt
	// is an operation of the history and writes a value of its own. 0: every operation is tried once.
	Patience  time.Duration `json:"patience,omitempty"`
	Registers int           `json:"registers"`
	// RegisterLife is how long a set of registers is in use before everybody moves on to new ones: what a
	// checker has to do grows steeply with the operations of unknown outcome on one key. 0: the whole run.
	RegisterLife time.Duration `json:"registerLife,omitempty"`
	// Redial bounds how long a client waits before it tries a member again that it could not reach. 0: as gRPC
	// does by itself, which grows to two minutes.
	Redial time.Duration `json:"redial,omitempty"`
	Seed   uint64        `json:"seed"`
}

// Validate refuses plans that load nothing.
func (p Plan) Validate() error {
	switch {
	case len(p.Endpoints) == 0:
		return errors.New("no endpoints: name at least one URL")
	case p.Prefix == "":
		return errors.New("no prefix: name one that is not in use")
	case p.Writers < 1 || p.Writers > 256 || p.Readers < 0 || p.Readers > 256:
		return fmt.Errorf("%d writers and %d readers: choose 1 to 256 and 0 to 256", p.Writers, p.Readers)
	case p.WritesPerSecond < 1 || p.WritesPerSecond > 10_000:
		return fmt.Errorf("%d writes a second: choose 1 to 10000", p.WritesPerSecond)
	case p.Timeout < time.Millisecond || p.Registers < 1 || p.RegisterLife < 0 || p.Redial < 0 || p.Patience < 0:
		return fmt.Errorf("timeout %v and %d registers: both must be given, and no length of time be negative", p.Timeout, p.Registers)
	}
	return nil
}

// Run is a load that is on.
type Run struct {
	plan    Plan
	began   time.Time
	cancel  context.CancelFunc
	clients []*clientv3.Client
	wg      sync.WaitGroup
	beat    metronome
	mu      struct {
		sync.Mutex
		history history.History
		recent  []string // keys that were written to lately
		turn    int      // where the next one goes
		lastAck time.Duration
		acks    int
		unknown int
	}
}

// recentKeys is how many keys of their own the readers remember.
const recentKeys = 64

// Dial opens a client. It connects when it is first used.
func Dial(endpoints []string, options ...grpc.DialOption) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints: endpoints, DialTimeout: 5 * time.Second, Logger: zap.NewNop(),
		DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: 2 * time.Second, DialOptions: options,
	})
}

// redial is how a client of this plan comes back to a member that it could not reach.
func (p Plan) redial() []grpc.DialOption {
	if p.Redial == 0 {
		return nil
	}
	first := p.Redial / 4
	return []grpc.DialOption{grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: first, Multiplier: 1.6, Jitter: 0.2, MaxDelay: p.Redial}, MinConnectTimeout: time.Second,
	})}
}

// Start begins a load, which goes on until Stop.
func Start(p Plan) (*Run, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	r := &Run{plan: p, began: time.Now()}
	for i := range p.Writers + p.Readers {
		client, err := Dial(rotate(p.Endpoints, i), p.redial()...)
		if err != nil {
			return nil, errors.Join(err, r.close())
		}
		r.clients = append(r.clients, client)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.wg.Go(func() { r.beat.run(ctx, r.began) })
	for i, client := range r.clients {
		rng := rand.New(rand.NewPCG(p.Seed, uint64(i)))
		if i < p.Writers {
			r.wg.Go(func() { r.pace(ctx, p.Writers, func(n int) { r.write(client, i, n, rng) }) })
		} else {
			r.wg.Go(func() { r.pace(ctx, p.Readers, func(int) { r.read(client, i, rng) }) })
		}
	}
	return r, nil
}

func rotate(all []string, by int) []string {
	by %= len(all)
	return append(slices.Clone(all[by:]), all[:by]...)
}

// pace calls do at its share of the rate, one call after the other, until ctx ends. An operation that has
// begun is never cut short, so its outcome is what its own deadline makes it.
func (r *Run) pace(ctx context.Context, sharers int, do func(n int)) {
	tick := time.NewTicker(max(time.Duration(sharers)*time.Second/time.Duration(r.plan.WritesPerSecond), time.Microsecond))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if ctx.Err() != nil {
			return
		}
		do(n)
	}
}

func (r *Run) register(rng *rand.Rand) string {
	one := rng.IntN(r.plan.Registers)
	if r.plan.RegisterLife == 0 {
		return fmt.Sprintf("%s/register/%02d", r.plan.Prefix, one)
	}
	return fmt.Sprintf("%s/register/%05d/%02d", r.plan.Prefix, time.Since(r.began)/r.plan.RegisterLife, one)
}

func (r *Run) write(c *clientv3.Client, client, n int, rng *rand.Rand) {
	o := history.Operation{Client: client, Kind: history.Put, Key: fmt.Sprintf("%s/own/%03d/%08d", r.plan.Prefix, client, n), Value: fmt.Sprintf("%d.%d", client, n)}
	if n%2 == 1 {
		o.Key = r.register(rng)
	} else {
		r.remember(o.Key)
	}
	r.insist(o, func(ctx context.Context, o *history.Operation) error {
		_, err := c.Put(ctx, o.Key, o.Value)
		return err
	})
}

func (r *Run) read(c *clientv3.Client, client int, rng *rand.Rand) {
	o := history.Operation{Client: client, Kind: history.Get, Key: r.register(rng)}
	if own, ok := r.recent(rng); ok && rng.IntN(3) == 0 {
		o.Key = own
	}
	r.insist(o, func(ctx context.Context, o *history.Operation) error {
		answer, err := c.Get(ctx, o.Key)
		if err == nil && len(answer.Kvs) > 0 {
			o.Value = string(answer.Kvs[0].Value)
		}
		return err
	})
}

// pause is the time between two attempts, as long as the official client takes by itself.
const pause = 25 * time.Millisecond

// insist tries an operation until it is acknowledged or patience is over. Every attempt to write has a value of its
// own: an earlier one may still take effect.
func (r *Run) insist(o history.Operation, do func(context.Context, *history.Operation) error) {
	o.First = time.Since(r.began)
	again := time.NewTimer(0)
	defer again.Stop()
	for attempt := 0; ; attempt++ {
		<-again.C
		once := o
		if attempt > 0 && o.Kind == history.Put {
			once.Value = fmt.Sprintf("%s.%d", o.Value, attempt)
		}
		r.perform(&once, do)
		if once.Outcome == history.OK || once.GaveUp {
			return
		}
		again.Reset(pause)
	}
}

// perform makes one attempt and records it.
func (r *Run) perform(o *history.Operation, do func(context.Context, *history.Operation) error) {
	ctx, cancel := context.WithTimeout(context.Background(), r.plan.Timeout)
	defer cancel()
	o.Start = time.Since(r.began)
	err := do(ctx, o)
	o.End = time.Since(r.began)
	o.Outcome = Classify(err)
	if err != nil {
		o.Error = err.Error()
		o.GaveUp = o.End+pause >= o.First+r.plan.Patience
	}
	if !o.GaveUp {
		o.First = 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.history = append(r.mu.history, *o)
	switch {
	case o.Kind == history.Put && o.Outcome == history.OK:
		r.mu.acks++
		r.mu.lastAck = max(r.mu.lastAck, o.End)
	case o.Kind == history.Put && o.Outcome == history.Unknown:
		r.mu.unknown++
	}
}

func (r *Run) remember(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.recent) < recentKeys {
		r.mu.recent = append(r.mu.recent, key)
		return
	}
	r.mu.recent[r.mu.turn%recentKeys] = key
	r.mu.turn++
}

func (r *Run) recent(rng *rand.Rand) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.mu.recent) == 0 {
		return "", false
	}
	return r.mu.recent[rng.IntN(len(r.mu.recent))], true
}

// Classify says what is known of an operation that ended with an error. Only codes that a server gives before
// it has begun anything mean that nothing happened.
func Classify(err error) history.Outcome {
	if err == nil {
		return history.OK
	}
	code := status.Code(err)
	var known rpctypes.EtcdError
	if errors.As(err, &known) {
		code = known.Code()
	}
	switch code {
	case codes.InvalidArgument, codes.FailedPrecondition, codes.OutOfRange, codes.NotFound, codes.Unimplemented,
		codes.PermissionDenied, codes.Unauthenticated, codes.ResourceExhausted:
		return history.Failed
	}
	return history.Unknown
}

// Stats is how a run is doing.
type Stats struct {
	Acks    int           `json:"acks"`
	Unknown int           `json:"unknown"`
	LastAck time.Duration `json:"lastAck"`
	Now     time.Duration `json:"now"`
}

// Stats counts what has ended so far.
func (r *Run) Stats() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Stats{Acks: r.mu.acks, Unknown: r.mu.unknown, LastAck: r.mu.lastAck, Now: time.Since(r.began)}
}

// Result is a run that has ended.
type Result struct {
	// Length is how long the load was on; the last reads come after it.
	Length  time.Duration
	History history.History
	// Final is what the run's keys held after all writers had stopped.
	Final map[string]string
	// Stalls are the times in which the machine stood still: a metronome's ticks came late.
	Stalls []history.Gap
}

// Stop ends the load, waits for the operations that are under way, and reads all keys of the run, as one more
// client whose reads belong to the history. ctx bounds the reading.
func (r *Run) Stop(ctx context.Context) (Result, error) {
	length := time.Since(r.began)
	r.cancel()
	r.wg.Wait()
	result := Result{Length: length, History: r.mu.history, Final: map[string]string{}, Stalls: r.beat.stalls}
	o := history.Operation{Client: len(r.clients), Kind: history.Get, Outcome: history.OK, Start: time.Since(r.began)}
	for _, key := range r.keys() {
		result.Final[key] = ""
	}
	found, err := everything(ctx, r.clients, r.plan.Prefix+"/")
	err = errors.Join(err, r.close())
	if err != nil {
		return result, fmt.Errorf("read everything back: %w", err)
	}
	o.End = time.Since(r.began)
	for key, value := range found {
		result.Final[key] = value
	}
	for key, value := range result.Final {
		o.Key, o.Value = key, value
		result.History = append(result.History, o)
	}
	return result, nil
}

// keys are all keys that were written to.
func (r *Run) keys() []string {
	var keys []string
	for _, o := range r.mu.history {
		if o.Kind == history.Put {
			keys = append(keys, o.Key)
		}
	}
	return keys
}

// everything reads all keys with a prefix, page by page at one revision. A client whose server is gone gives
// way to the next.
func everything(ctx context.Context, clients []*clientv3.Client, prefix string) (map[string]string, error) {
	const page = 2000
	found := map[string]string{}
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for turn := 0; ; {
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		answer, err := clients[turn%len(clients)].Get(once, from, clientv3.WithRange(end), clientv3.WithLimit(page))
		cancel()
		if err != nil {
			if ctx.Err() != nil {
				return nil, err
			}
			turn++
			continue
		}
		for _, kv := range answer.Kvs {
			found[string(kv.Key)] = string(kv.Value)
			from = string(kv.Key) + "\x00"
		}
		if !answer.More {
			return found, nil
		}
	}
}

func (r *Run) close() error {
	var errs []error
	for _, c := range r.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// Fill writes n keys under a prefix as fast as some clients can, each operation tried until it is acknowledged
// or ctx ends.
func Fill(ctx context.Context, endpoints []string, prefix string, n int) error {
	const connections, each = 4, 32
	work := make(chan int)
	failed := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i := range connections {
		client, err := Dial(rotate(endpoints, i))
		if err != nil {
			return err
		}
		defer client.Close()
		for range each {
			wg.Go(func() {
				for k := range work {
					if err := insist(ctx, client, fmt.Sprintf("%s/%08d", prefix, k)); err != nil {
						select {
						case failed <- err:
						default:
						}
						cancel()
					}
				}
			})
		}
	}
	for k := range n {
		work <- k
	}
	close(work)
	wg.Wait()
	select {
	case err := <-failed:
		return fmt.Errorf("write %d keys: %w", n, err)
	default:
		return nil
	}
}

func insist(ctx context.Context, c *clientv3.Client, key string) error {
	for {
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		_, err := c.Put(once, key, key)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil || Classify(err) == history.Failed {
			return err
		}
	}
}
