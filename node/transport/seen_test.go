package transport

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"raftsman.dev/node/raft"
)

func TestRefutes(t *testing.T) {
	held := Held{Term: 4, Last: 100}
	for _, c := range []struct {
		name string
		seen Seen
		says string // "" where nothing may be said
	}{
		{"never seen", Seen{}, ""},
		{"an earlier boot", Seen{Boot: 6, Life: 1}, ""},
		{"this very life", Seen{Boot: 7, Life: 70, Claim: Claim{Boot: 7, Term: 9, Kept: 900}}, ""},
		{"a later boot", Seen{Boot: 8, Life: 1}, "boot 8 of it has been seen, and this is boot 7"},
		{"another life in this boot", Seen{Boot: 7, Life: 71}, "another start with this very boot 7"},
		{"this boot under version 1", Seen{Boot: 7}, "another start with this very boot 7"},
		{"what an earlier boot claimed is there", Seen{Boot: 6, Claim: Claim{Boot: 6, Term: 4, Kept: 100}}, ""},
		{"a term is forgotten", Seen{Boot: 6, Claim: Claim{Boot: 6, Term: 5}}, "in boot 6 it promised term 5, and in boot 7 its disk knows of term 4 only"},
		{"an entry is forgotten", Seen{Boot: 6, Claim: Claim{Boot: 5, Term: 3, Kept: 101}}, "in boot 5 it acknowledged committed entry 101, and in boot 7 its log ends at 100"},
	} {
		err := c.seen.Refutes(Identity{Member: 2, Boot: 7, Life: 70}, held)
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, ErrRolledBack) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// TestClaims: what counts leaves after it is durable and is never taken back.
func TestClaims(t *testing.T) {
	for _, c := range []struct {
		body      raft.Body
		committed raft.Index
		at        raft.Term
		want      Claim
	}{
		{raft.VoteRequest{Last: raft.Position{Index: 50, Term: 2}}, 90, 3, Claim{2, 3, 0}},
		{raft.VoteRequest{Pre: true}, 90, 3, Claim{}},
		{raft.VoteReply{Granted: true}, 90, 3, Claim{2, 3, 0}},
		{raft.VoteReply{}, 90, 3, Claim{2, 3, 0}},
		{raft.VoteReply{Pre: true, Granted: true}, 90, 3, Claim{}},
		{raft.AppendReply{Match: 80}, 90, 3, Claim{2, 3, 80}},
		{raft.AppendReply{Match: 99}, 90, 2, Claim{2, 3, 90}},
		{raft.AppendReply{Match: 80}, 90, 4, Claim{2, 3, 0}}, // committed by a later leader, whose log may differ there
		{raft.AppendReply{Match: 80, Rejected: true}, 90, 3, Claim{}},
		{raft.Heartbeat{Commit: 80}, 90, 3, Claim{}},
		{raft.HeartbeatReply{}, 90, 3, Claim{}},
		{raft.Append{Commit: 80}, 90, 3, Claim{}},
		{raft.TimeoutNow{}, 90, 3, Claim{}},
	} {
		var s Seen
		s.Hear(&raft.Message{FromBoot: 2, Term: 3, Body: c.body}, c.committed, c.at)
		if s.Claim != c.want {
			t.Errorf("%+v with %d committed in term %d: %+v, want %+v", c.body, c.committed, c.at, s.Claim, c.want)
		}
	}
}

// TestClaimsOnlyGrow: in whatever order messages of several boots arrive, the highest of each stays.
func TestClaimsOnlyGrow(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var s Seen
	var most raft.Index
	for range 2000 {
		before := s
		s.Meet(raft.Boot(rng.IntN(20)), rng.Uint64()|1)
		match, committed := raft.Index(rng.IntN(99)), raft.Index(rng.IntN(99))
		most = max(most, min(match, committed))
		s.Hear(&raft.Message{FromBoot: raft.Boot(rng.IntN(20)), Term: raft.Term(rng.IntN(50)), Body: raft.AppendReply{Match: match}}, committed, 0)
		if s.Boot < before.Boot || s.Boot == before.Boot && s.Life != before.Life && before.Boot > 0 || s.Claim.Boot < before.Claim.Boot || s.Claim.Term < before.Claim.Term || s.Claim.Kept < before.Claim.Kept {
			t.Fatalf("from %+v to %+v", before, s)
		}
	}
	if s.Boot != 19 || s.Claim != (Claim{19, 49, most}) {
		t.Errorf("in the end %+v", s)
	}
}

// pair is two connected members of one cluster; b has sent an ack of a committed entry in its boot 5, life 50.
func pair(t *testing.T) (a, b *end) {
	t.Helper()
	a = start(t, Identity{Member: 1, Cluster: 9, Boot: 1, Life: 10, Name: "a"}, nil)
	b = start(t, Identity{Member: 2, Cluster: 9, Boot: 5, Life: 50, Name: "b"}, nil)
	b.SetPeers([]Peer{{ID: 1, Addresses: []string{a.address}}})
	wait(t, "b to connect", b.connected)
	b.Send([]raft.Message{{From: 2, To: 1, FromBoot: 5, Term: 3, Body: raft.AppendReply{Match: 40}}})
	wait(t, "the ack", a.got)
	wait(t, "the way back", a.connected)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// TestOlderCopyIsRefuted, whichever side dials; a sound restart is not, and what was refuted leaves no trace.
func TestOlderCopyIsRefuted(t *testing.T) {
	for _, c := range []struct {
		name  string
		boot  raft.Boot
		held  Held
		older bool
	}{
		{"the right volume", 6, Held{Term: 3, Last: 40}, false},
		{"an older boot", 4, Held{Term: 3, Last: 40}, true},
		{"the same boot again", 5, Held{Term: 3, Last: 40}, true},
		{"a term less", 6, Held{Term: 2, Last: 40}, true},
		{"an entry less", 6, Held{Term: 3, Last: 39}, true},
	} {
		for _, dials := range []bool{true, false} {
			a, _ := pair(t)
			again := startHolding(t, Identity{Member: 2, Cluster: 9, Boot: c.boot, Life: 60, Name: "b"}, c.held)
			from, to := again, a
			if !dials {
				from, to = a, again
			}
			conn, _, err := from.connect(t.Context(), kindMessages, to.address, to.self().Member)
			if conn != nil {
				conn.Close()
			}
			if (err != nil) != c.older {
				t.Errorf("%s, dials %v: %v", c.name, dials, err)
			}
			if c.older {
				if why := wait(t, "the news", again.rolledBack); !errors.Is(why, ErrRolledBack) || !strings.Contains(why.Error(), "(a)") {
					t.Errorf("%s: %v", c.name, why)
				}
				right := startHolding(t, Identity{Member: 2, Cluster: 9, Boot: 6, Life: 61, Name: "b"}, Held{Term: 3, Last: 40})
				conn, _, err := right.connect(t.Context(), kindMessages, a.address, 1)
				if err != nil {
					t.Fatalf("%s, dials %v: the right volume after that: %v", c.name, dials, err)
				}
				conn.Close()
			} else if len(again.rolledBack) > 0 {
				t.Errorf("%s: refuted", c.name)
			}
		}
	}
}

// TestRefutedIsSilent: no connection of it is left, and none is taken.
func TestRefutedIsSilent(t *testing.T) {
	a, _ := pair(t)
	old := startHolding(t, Identity{Member: 2, Cluster: 9, Boot: 4, Life: 40, Name: "b"}, Held{})
	third := start(t, Identity{Member: 3, Cluster: 9, Boot: 1, Life: 30, Name: "c"}, nil)
	old.SetPeers([]Peer{{ID: 3, Addresses: []string{third.address}}})
	wait(t, "a member that knows nothing", old.connected)
	wait(t, "its way back", third.connected)
	old.SetPeers([]Peer{{ID: 1, Addresses: []string{a.address}}, {ID: 3, Addresses: []string{third.address}}})
	wait(t, "the news", old.rolledBack)
	wait(t, "the loss to be noticed", third.lost)
	old.Send([]raft.Message{{From: 2, To: 3, FromBoot: 4, Term: 3, Body: raft.VoteReply{Granted: true}}})
	if conn, _, err := third.connect(t.Context(), kindMessages, old.address, 2); err == nil {
		conn.Close()
		t.Error("it takes connections")
	}
	if len(third.got) > 0 {
		t.Errorf("it says %+v", <-third.got)
	}
}

// TestUnjoinedCopyIsNotAdopted: a volume from before the member joined is recognised too.
func TestUnjoinedCopyIsNotAdopted(t *testing.T) {
	a, _ := pair(t)
	old := startHolding(t, Identity{Member: 2, Boot: 1, Life: 11, Name: "b"}, Held{})
	old.adopt = func(raft.ClusterID) error { t.Error("adopted"); return nil }
	if conn, _, err := a.connect(t.Context(), kindMessages, old.address, 2); err == nil {
		conn.Close()
		t.Error("connected")
	}
	wait(t, "the news", old.rolledBack)
}

// TestMemoryIsBounded: what is remembered of strangers goes first.
func TestMemoryIsBounded(t *testing.T) {
	a, _ := pair(t)
	a.SetPeers([]Peer{{ID: 2, Addresses: []string{"127.0.0.1:1"}}})
	for id := range raft.MemberID(2 * maxSeen) {
		a.meet(Identity{Member: 100 + id, Boot: 1})
	}
	if a.seenOf(2).Boot != 5 {
		t.Error("a peer is forgotten")
	}
	a.Transport.mu.Lock()
	defer a.Transport.mu.Unlock()
	if n := len(a.Transport.mu.seen); n != maxSeen {
		t.Errorf("%d are remembered", n)
	}
}
