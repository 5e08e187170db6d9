package sim

import (
	"errors"
	"fmt"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/replica"
)

// Operation is one request of a client as the client saw it, on the virtual clock.
type Operation struct {
	Client       int
	Key          string
	Kind         Kind
	Value        string // written, or read
	Expected     string // of a compare-and-swap: what the key must hold
	Swapped      bool   // whether it did
	Call, Return int64
	// Unknown says that the client never heard, or was told that the outcome is not known: it may have
	// happened, and may yet.
	Unknown bool
}

// Kind is what an operation does.
type Kind uint8

// The kinds of operations.
const (
	Put Kind = iota
	Get
	Swap
)

// String names the kind.
func (k Kind) String() string { return [...]string{"put", "get", "swap"}[k] }

// client asks one thing after the other, of a member that it draws each time.
type client struct {
	w       *World
	id      int
	serial  int
	pending *Operation
	at      *host
	history []Operation
	last    map[string]string // what it read last, to have something to swap
	asked   int               // one higher with every request: what answers an older one is dropped
	again   *Operation        // to be asked once more: nobody knows what became of it
	mine    []string          // its own keys whose writes were acknowledged
	kept    kept
}

// kept is the last write that a member has acknowledged to a client: its own store holds it.
type kept struct {
	at         *host
	life       int
	key, value string
}

func (w *World) addClient(id int) *client {
	c := &client{w: w, id: id, last: map[string]string{}}
	w.after(w.between(0, second), c.ask)
	return c
}

// sharedKeys is how many keys all clients contend for, and keyLife how long: the checker's work grows steeply with
// the operations of unknown outcome on one key.
const (
	sharedKeys = 3
	keyLife    = 10 * second
)

// ask begins the next request, at any member that is up.
func (c *client) ask() {
	if c.w.calm {
		return
	}
	up := c.w.living()
	if len(up) == 0 {
		c.w.after(500*millisecond, c.ask)
		return
	}
	c.serial++
	c.asked++
	c.at = pick(c.w, up)
	c.at.clients = append(c.at.clients, c)
	if c.at.diverged {
		c.w.fault("request refused: state differs")
		c.next()
		return
	}
	op := c.draw()
	c.pending = op
	asked := c.asked
	c.w.after(c.w.between(5*second, 20*second), func() { c.giveUp(asked) })
	switch put := []kv.Op{{Put: &kv.PutRequest{Key: []byte(op.Key), Value: []byte(op.Value)}}}; op.Kind {
	case Put:
		c.propose(kv.Txn{Success: put})
	case Swap:
		c.propose(swap(op.Key, op.Expected, op.Value))
	default:
		c.read()
	}
}

// draw chooses what to ask. What has an unknown outcome is asked again now and then: every value is written by one
// request and its repetitions alone, so that a repetition does no harm.
func (c *client) draw() *Operation {
	w := c.w
	if again := c.again; again != nil {
		c.again = nil
		w.fault("request repeated")
		w.truth.repeated[again.Key] = true
		return &Operation{Client: c.id, Key: again.Key, Kind: again.Kind, Value: again.Value, Expected: again.Expected, Call: w.now}
	}
	key := fmt.Sprintf("shared-%d-%d", w.now/keyLife, w.rng.IntN(sharedKeys))
	op := &Operation{Client: c.id, Key: key, Value: fmt.Sprintf("%d.%d", c.id, c.serial), Call: w.now}
	switch w.rng.IntN(6) {
	case 0:
		op.Key = "own-" + op.Value // written once: it must be there at the end
	case 1:
	case 2:
		op.Kind, op.Expected = Swap, c.last[key]
	case 3:
		op.Kind, op.Value = Get, ""
		if len(c.mine) > 0 {
			op.Key = pick(w, c.mine)
		}
	default:
		op.Kind, op.Value = Get, ""
	}
	return op
}

// giveUp ends the client's patience.
func (c *client) giveUp(asked int) {
	if c.asked == asked && c.pending != nil {
		c.w.fault("client gave up")
		c.asked++
		c.unknown()
	}
}

// swap puts value if the key holds what is expected; "" stands for a key that is not there.
func swap(key, expected, value string) kv.Txn {
	is := kv.Compare{Key: []byte(key), Target: kv.CompareValue, Value: []byte(expected)}
	if expected == "" {
		is = kv.Compare{Key: []byte(key), Target: kv.CompareVersion}
	}
	return kv.Txn{Compares: []kv.Compare{is}, Success: []kv.Op{{Put: &kv.PutRequest{Key: []byte(key), Value: []byte(value)}}}}
}

func (c *client) propose(txn kv.Txn) {
	p, err := c.at.propose(kv.Command{Txn: txn})
	if err != nil {
		c.next() // certainly not done
		return
	}
	c.awaitProposal(p, c.asked)
}

// poll is how often a client looks whether it was answered.
const poll = 2 * millisecond

func (c *client) awaitProposal(p *replica.Proposal, asked int) {
	if c.asked != asked {
		return
	}
	select {
	case o := <-p.Done():
		if errors.Is(o.Err, replica.ErrNoSpace) {
			c.w.fault("write refused: no space")
		}
		switch {
		case o.Err == nil:
			c.pending.Swapped = o.Result.Succeeded
			if c.pending.Swapped && c.pending.Kind == Swap {
				c.w.fault("compare-and-swap")
			}
			c.answered()
		case errors.Is(o.Err, replica.ErrUnknown) || errors.Is(o.Err, replica.ErrStopped):
			c.unknown()
		default:
			c.next() // certainly not done
		}
	default:
		c.w.after(poll, func() { c.awaitProposal(p, asked) })
	}
}

func (c *client) read() {
	h := c.at
	b := replica.NewBarrier()
	h.later(0, func() {
		h.replica.Barrier([]*replica.Barrier{b})
		h.pump()
	})
	c.awaitBarrier(b, c.asked)
}

func (c *client) awaitBarrier(b *replica.Barrier, asked int) {
	if c.asked != asked {
		return
	}
	select {
	case err := <-b.Done():
		if err != nil {
			c.next()
			return
		}
		value, ok := c.at.serve(c.pending.Key)
		if !ok {
			return // it has ended, and told so
		}
		c.w.fault("linearizable read")
		c.pending.Value = value
		c.last[c.pending.Key] = c.pending.Value
		c.answered()
	default:
		c.w.after(poll, func() { c.awaitBarrier(b, asked) })
	}
}

// answered records what is certain.
func (c *client) answered() {
	op := c.pending
	if (c.at.altered.tainted || c.at.diverged) && op.Kind != Put {
		c.unknown() // nobody promises anything of what an altered store says
		return
	}
	op.Return = c.w.now
	if op.Kind == Put && len(op.Key) > 4 && op.Key[:4] == "own-" {
		c.w.truth.acked[op.Key] = op.Value
		c.mine = append(c.mine, op.Key)
		c.kept = kept{at: c.at, life: c.at.life, key: op.Key, value: op.Value}
	}
	c.history = append(c.history, *op)
	c.next()
	c.glance(op.Key)
}

// unknown goes on after a request whose outcome is not known.
func (c *client) unknown() {
	c.doubt()
	c.next()
}

// doubt records a write that may have happened, or may yet: it ends with the world. A read that was not answered
// says nothing.
func (c *client) doubt() {
	if op := c.pending; op.Kind != Get {
		op.Unknown = true
		c.history = append(c.history, *op)
		if c.w.rng.IntN(3) == 0 {
			c.again = op
		}
	}
}

func (c *client) next() {
	c.pending = nil
	c.leave()
	c.w.after(c.w.between(0, 100*millisecond), c.ask)
}

// orphan is called when the member that was asked dies.
func (c *client) orphan() {
	if c.pending != nil {
		c.asked++
		c.unknown()
	}
}

// leave takes the client off its member's list. The list is rebuilt, since orphan runs over the old one.
func (c *client) leave() {
	var rest []*client
	for _, other := range c.at.clients {
		if other != c {
			rest = append(rest, other)
		}
	}
	c.at.clients = rest
}
