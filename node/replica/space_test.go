package replica

import (
	"errors"
	"fmt"
	"testing"

	"raftsman.dev/node/kv"
	"raftsman.dev/node/raft"
	"raftsman.dev/node/wal"
)

// remove proposes one delete at a member.
func (h *host) remove(key string) (*Proposal, error) {
	p, err := h.replica.Register(kv.Command{Txn: kv.Txn{Success: []kv.Op{{Delete: &kv.DeleteRequest{Key: []byte(key)}}}}}, h.replica.Now())
	if err == nil {
		h.replica.Propose([]*Proposal{p})
		h.replica.Pump()
	}
	return p, err
}

// Where the leader is low on space puts are refused at every member, at once where it has heard of it, and by the
// leader where it has not; deletes go on, and so do puts once there is space.
func TestNoSpaceIsTold(t *testing.T) {
	w := group(t, 5, 3, Tuning{})
	l := w.leader()
	other := w.hosts[w.ids[0]]
	if other == l {
		other = w.hosts[w.ids[1]]
	}
	p, err := l.put("k", "v")
	l.must(err)
	w.outcome(p)
	l.replica.Space(raft.Space{Low: true})
	l.replica.Pump()
	p, err = other.put("k", "sent on")
	other.must(err)
	if o := w.outcome(p); !errors.Is(o.Err, ErrNoSpace) || !errors.Is(o.Err, ErrUnknown) {
		t.Errorf("a put that was sent on: %+v", o)
	}
	for _, id := range w.ids {
		h := w.hosts[id]
		w.until(fmt.Sprint("member ", id, " hears of it"), func() bool { return h.replica.Brief().Space.Low })
		if _, err := h.put("k", "w"); !errors.Is(err, ErrNoSpace) {
			t.Errorf("a put at member %d: %v", id, err)
		}
		p, err := h.remove("k")
		h.must(err)
		if o := w.outcome(p); o.Err != nil {
			t.Errorf("a delete at member %d: %v", id, o.Err)
		}
	}
	l.replica.Space(raft.Space{})
	l.replica.Pump()
	w.until("space everywhere", func() bool { return !other.replica.Brief().Space.Low })
	p, err = other.put("k", "again")
	other.must(err)
	if o := w.outcome(p); o.Err != nil {
		t.Errorf("a put once there is space: %v", o.Err)
	}
	w.equal()
}

// While the disk is low the log keeps next to nothing of what is applied.
func TestLowDiskCutsTheLog(t *testing.T) {
	w, h := alone(t, 6, Tuning{KeepEntries: 1000})
	for i := range 300 {
		p, err := h.put("k", fmt.Sprint(i))
		h.must(err)
		w.outcome(p)
	}
	if first := h.replica.Brief().First; first != 1 {
		t.Fatalf("the log was cut to %d before it was to be", first)
	}
	h.replica.Space(raft.Space{Low: true})
	h.replica.Pump()
	w.until("a cut", func() bool { return h.replica.Brief().First > 200 })
}

// What the log had no space for is kept by the writer, in its order, and written once there is space.
func TestWriterKeepsWhatFoundNoSpace(t *testing.T) {
	w, h := alone(t, 7, Tuning{})
	h.log.SetSize(1)
	var last *Proposal
	for i := 0; ; i++ {
		p, err := h.put("k", fmt.Sprint("value ", i))
		h.must(err)
		last = p
		_, err = h.replica.Writer().Run()
		if errors.Is(err, wal.ErrNoSpace) {
			break
		}
		if h.must(err); i > 2000 {
			t.Fatal("a full disk takes everything")
		}
	}
	more, err := h.put("k", "last word")
	h.must(err)
	if _, err := h.replica.Writer().Run(); !errors.Is(err, wal.ErrNoSpace) {
		t.Errorf("a second try: %v", err)
	}
	h.log.SetSize(0)
	h.writing = true
	for _, p := range []*Proposal{last, more} {
		if o := w.outcome(p); o.Err != nil {
			t.Errorf("once there is space: %v", o.Err)
		}
	}
	if got, _ := h.value("k"); got != "last word" {
		t.Errorf("the store holds %q", got)
	}
}
