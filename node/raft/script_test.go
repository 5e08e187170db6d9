package raft

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
)

// TestStories tells the protocol's stories. Rewrite them with: go test ./node/raft -run TestStories -rewrite.
//
// A line "1->2 in 3: Append ..." is a message at the moment it arrives (or "is lost"), sent in term 3; "1: ..."
// is what member 1 does, becomes or tells its clients. Nothing moves unless a command moves it.
//
//	cluster [voters=N] [learners=N] [empty=N] [TUNING=N]   a new cluster whose members share their first entry;
//	                         empty members are in no membership yet. TUNING: keep, uncommitted, inflight,
//	                         inflightbytes, appendbytes, tail, lag. Lines of input give logs: "2: 1 1 4" are
//	                         three commands of those terms behind the first entry
//	form ID                  an empty member becomes a cluster of one
//	elect ID                 its election timer fires, then everything settles
//	fire ID                  its election timer fires
//	tick ID... [n=N]         time passes for these members only
//	lapse ID...              an election timeout has passed for these members, but their timers have not fired
//	settle [ticks=N] [hold]  disks answer and messages arrive until nothing is left to do, then time passes; with
//	                         hold, snapshots stay on their way
//	sync ID                  the disk of a member answers everything
//	hang ID, wake ID         the disk of a member stops answering, answers again
//	deliver, lose, repeat, hold [from=ID] [to=ID] [kind=KIND]   messages on their way: arrive, get lost, are
//	                         doubled; hold shows them. With first, only the first that fits
//	stream ok | fail         the oldest snapshot on its way arrives, or not
//	propose ID PAYLOAD... [grows]   as one batch; grows says that they let the data grow
//	points [every=N]         from now on the stores pass a point of attestation at every Nth entry
//	spoil ID                 something is wrong in its store from now on
//	space ID [low] [out]     what its disk has left
//	watched ID [off]         somebody there looks at what is committed, or nobody does any more
//	read ID
//	change ID [add=(ID,...)] [promote=(ID,...)] [remove=(ID,...)] [planned=INDEX]
//	transfer ID [to=ID]
//	isolate ID, heal         cut a member off both ways; mend all cuts
//	cut from=ID to=ID        one direction of one link
//	crash ID keep=synced|all power fails: what the disk had not answered is lost, or had just been written
//	start ID
//	damage ID [lost=(INDEX,...)] [store]   the disk of a member that is down loses the content of entries, or its store
//	compact ID at=INDEX      its log is cut
//	unreachable ID peer=ID   its transport gives up on messages to a peer
//	send from=ID to=ID term=N kind=KIND [boot=N] [pre] [transfer] [prev=INDEX] [prevterm=N] [commit=N]   a message made by hand
//	state [ID...]            role, term and log of members
//	log [ID...]              entries of members
//	progress ID              what a leader knows of the others
//
// Every command takes quiet (says nothing) and terse (no messages, disk writes or applied entries).
func TestStories(t *testing.T) {
	datadriven.Walk(t, "testdata/stories", func(t *testing.T, path string) {
		s := &story{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t, s.d, s.lines = t, d, nil
			if s.w != nil {
				s.w.t = t
			}
			s.run()
			return s.text()
		})
	})
}

// story runs one script.
type story struct {
	t     *testing.T
	d     *datadriven.TestData
	w     *world
	lines []string
}

func (s *story) say(format string, args ...any) {
	s.lines = append(s.lines, fmt.Sprintf(format, args...))
}

// text is what the command has said, with short IDs.
func (s *story) text() string {
	if s.d.HasArg("quiet") {
		return ""
	}
	lines := s.lines
	if s.d.HasArg("terse") {
		lines = slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
			return strings.Contains(line, "->") || strings.Contains(line, ": durable: ") || strings.Contains(line, ": applies ")
		})
	}
	id := regexp.MustCompile(`\b0*([0-9a-f]+)\b`)
	return regexp.MustCompile(`\b[0-9a-f]{16}\b`).ReplaceAllStringFunc(strings.Join(lines, "\n"), func(hex string) string {
		return id.ReplaceAllString(hex, "$1")
	})
}

func (s *story) run() {
	w := s.w
	switch s.d.Cmd {
	case "cluster":
		s.cluster()
	case "elect":
		s.fire(s.node())
		w.quiet()
	case "fire":
		s.fire(s.node())
	case "tick":
		for range s.number("n", 1) {
			for _, n := range s.members() {
				n.core.Tick()
				w.drain(n)
			}
		}
	case "lapse":
		for _, n := range s.members() {
			n.core.elapsed, n.core.timeout = n.core.cfg.ElectionTicks, 2*n.core.cfg.ElectionTicks
		}
	case "settle":
		w.holding = s.d.HasArg("hold")
		w.settle(s.number("ticks", 0))
		w.holding = false
	case "sync":
		w.sync(s.node(), len(s.node().queue))
	case "hang", "wake":
		s.node().hung = s.d.Cmd == "hang"
	case "deliver", "lose", "repeat", "hold":
		s.messages()
	case "stream":
		if len(w.streams) == 0 {
			s.d.Fatalf(s.t, "no snapshot is on its way")
		}
		w.endStream(0, s.d.HasArg("ok"))
	case "isolate":
		w.isolate(s.node().id, true)
	case "cut":
		w.cut[[2]MemberID{s.id("from"), s.id("to")}] = true
	case "heal":
		clear(w.cut)
		w.connect()
	case "crash":
		if s.word("keep") == "all" {
			s.power(s.node())
		}
		w.crash(s.node().id)
	case "damage":
		s.damage(s.node())
	case "start":
		w.start(s.node().id)
	case "form":
		s.form(s.node())
	case "send":
		s.send()
	default:
		s.ask()
	}
}

// ask runs the commands that ask a member for something or look at it.
func (s *story) ask() {
	w := s.w
	switch s.d.Cmd {
	case "propose":
		var ps []Proposal
		for _, arg := range s.d.CmdArgs[1:] {
			if !slices.Contains([]string{"quiet", "terse", "grows"}, arg.Key) {
				w.nextRef++
				ps = append(ps, Proposal{Ref: w.nextRef, Grows: s.d.HasArg("grows"), Payload: []byte(arg.Key)})
			}
		}
		w.local(s.node(), Propose{Proposals: ps})
	case "read":
		w.read(s.node())
	case "change":
		c := Change{Planned: Index(s.number("planned", 0)), Promote: s.ids("promote"), Remove: s.ids("remove")}
		for _, id := range s.ids("add") {
			c.AddLearners = append(c.AddLearners, Member{ID: id})
		}
		w.change(s.node(), c)
	case "transfer":
		w.nextRef++
		w.local(s.node(), Transfer{Ref: w.nextRef, To: s.id("to")})
	case "compact":
		w.compact(s.node(), Index(s.number("at", 0)))
	case "points":
		w.every = Index(s.number("every", 1))
	case "spoil":
		s.node().spoilt = 0xbad + uint32(s.node().id)
	case "space":
		w.local(s.node(), Space{Low: s.d.HasArg("low"), Out: s.d.HasArg("out")})
	case "watched":
		w.local(s.node(), Watched{On: !s.d.HasArg("off")})
	case "hurry":
		w.local(s.node(), Hurry{})
	case "unreachable":
		w.local(s.node(), Unreachable{Peer: s.id("peer")})
	case "state":
		for _, n := range s.members() {
			s.state(n)
		}
	case "log":
		for _, n := range s.members() {
			s.say("%v: %s", n.id, describeLog(n))
		}
	case "progress":
		for _, p := range s.node().core.Status().Progress {
			s.say("%v: %v, match %d, next %d", p.ID, p.Mode, p.Match, p.Next)
		}
	default:
		s.d.Fatalf(s.t, "unknown command %s", s.d.Cmd)
	}
}

// cluster makes N voters and M learners that share their first, committed entry.
func (s *story) cluster() {
	tuning := Config{
		MaxUncommittedBytes: s.number("uncommitted", 0), MaxInflightMessages: s.number("inflight", 0), MaxInflightBytes: s.number("inflightbytes", 0),
		MaxAppendBytes: s.number("appendbytes", 0), TailBytes: s.number("tail", 0), CaughtUpLag: Index(s.number("lag", 0)),
	}
	w := emptyWorld(s.t, 1, tuning)
	w.keep = Index(s.number("keep", 0))
	of := slices.Repeat([]Seat{SeatVoter}, s.number("voters", 3))
	w.populate(seats(append(of, slices.Repeat([]Seat{SeatLearner}, s.number("learners", 0))...)...))
	for range s.number("empty", 0) {
		w.add(MemberID(len(w.ids)+1), Restored{})
	}
	s.w = w
	if s.d.Input != "" {
		s.logs()
	}
	w.tell = s.say
}

// logs gives members commands of the terms named, behind their first entry.
func (s *story) logs() {
	for line := range strings.Lines(s.d.Input) {
		id, terms, _ := strings.Cut(strings.TrimSpace(line), ":")
		n := s.member(id)
		for _, field := range strings.Fields(terms) {
			term, err := strconv.Atoi(field)
			if err != nil {
				s.d.Fatalf(s.t, "%q is no term", field)
			}
			last := Index(len(n.disk.Entries))
			n.disk.Entries = append(n.disk.Entries, commands(last, Term(term))...)
			n.disk.Hard.Term = max(n.disk.Hard.Term, Term(term))
		}
		s.w.start(n.id)
	}
}

// form makes a member the founder of a cluster of one.
func (s *story) form(n *node) {
	n.write(Birth(Member{ID: n.id}))
	s.w.start(n.id)
}

func (s *story) fire(n *node) {
	n.core.elapsed = n.core.timeout - 1
	n.core.Tick()
	s.w.drain(n)
}

// damage takes entries or the store away from a member that is down.
func (s *story) damage(n *node) {
	if n.up {
		s.d.Fatalf(s.t, "member %v is up", n.id)
	}
	if arg, ok := s.d.Arg("lost"); ok {
		for _, v := range arg.Vals {
			i, err := strconv.Atoi(v)
			if err != nil {
				s.d.Fatalf(s.t, "%q is no index", v)
			}
			n.applied = min(n.applied, max(Index(i)-1, n.disk.Base.Position.Index)) // what the store holds needs no repair
			n.lose(Index(i))
		}
	}
	if s.d.HasArg("store") {
		n.applied = 0
	}
}

// power writes what the disk was given, but nobody hears of it.
func (s *story) power(n *node) {
	for _, j := range n.queue {
		n.write(j.batch)
		s.w.sayDurable(n, j.batch)
	}
}

// messages picks messages on their way.
func (s *story) messages() {
	w := s.w
	from, to, of := s.id("from"), s.id("to"), s.word("kind")
	for _, m := range slices.Clone(w.bag) {
		if from != 0 && m.From != from || to != 0 && m.To != to || of != "" && kind(m.Body) != of {
			continue
		}
		at := slices.IndexFunc(w.bag, func(x Message) bool { return fmt.Sprintf("%+v", x) == fmt.Sprintf("%+v", m) })
		switch s.d.Cmd {
		case "deliver":
			w.deliver(at)
		case "lose":
			s.say("%s is lost", describe(m))
			w.bag = slices.Delete(w.bag, at, at+1)
		case "repeat":
			w.bag = append(w.bag, m)
		case "hold":
			s.say("%s", describe(m))
		}
		if s.d.HasArg("first") {
			return
		}
	}
}

// send hands a message made by hand to its receiver.
func (s *story) send() {
	prev := Position{Index(s.number("prev", 0)), Term(s.number("prevterm", 0))}
	bodies := []Body{
		VoteRequest{Pre: s.d.HasArg("pre"), Transfer: s.d.HasArg("transfer"), Last: prev},
		Append{Prev: prev, Commit: Index(s.number("commit", 0))},
		Heartbeat{Commit: Index(s.number("commit", 0))},
		TimeoutNow{},
	}
	i := slices.IndexFunc(bodies, func(b Body) bool { return kind(b) == s.word("kind") })
	if i < 0 {
		s.d.Fatalf(s.t, "cannot make a message of kind %q", s.word("kind"))
	}
	from, to := s.id("from"), s.id("to")
	m := Message{From: from, To: to, FromBoot: s.w.nodes[from].boot, ToBoot: Boot(s.number("boot", 0)), Term: Term(s.number("term", 0)), Body: bodies[i]}
	s.w.bag = append(s.w.bag, m)
	s.w.deliver(len(s.w.bag) - 1)
}

func (s *story) state(n *node) {
	if !n.up {
		last := n.disk.Base.Position.Index + Index(len(n.disk.Entries))
		s.say("%v: down; on disk: term %d, vote %d, log up to %d", n.id, n.disk.Hard.Term, uint64(n.disk.Hard.Vote), last)
		return
	}
	c := n.core
	leader := ""
	if c.leader != 0 && c.leader != n.id {
		leader = fmt.Sprintf(" of %v", c.leader)
	}
	harm := ""
	if b := c.Brief(); !c.sound() {
		harm = fmt.Sprintf("; applied %d, lost %d%s", c.applied, c.repair.lost, flagged(", rebuilding", b.Rebuilding))
	}
	s.say("%v: %v%s in term %d; log %v, durable %d, commit %d%s; config %d: %s", n.id, c.role, leader, c.hard.Term, c.log.last, c.durable, c.commit, harm, c.config, describeMembership(c.Membership()))
}

// describeLog lists the entries that a member holds in memory.
func describeLog(n *node) string {
	text := ""
	if base := n.core.log.base.Position; base.Index > 0 {
		text = fmt.Sprintf("behind %v: ", base)
	}
	return text + describeEntries(n.core.log.entries)
}

// node is the member that the command names first.
func (s *story) node() *node {
	if len(s.d.CmdArgs) == 0 {
		s.d.Fatalf(s.t, "%s needs a member", s.d.Cmd)
	}
	return s.member(s.d.CmdArgs[0].Key)
}

func (s *story) member(name string) *node {
	id, err := strconv.Atoi(name)
	if err != nil || s.w.nodes[MemberID(id)] == nil {
		s.d.Fatalf(s.t, "%q is no member", name)
	}
	return s.w.nodes[MemberID(id)]
}

// members are those that the command names, or all.
func (s *story) members() []*node {
	var found []*node
	for _, arg := range s.d.CmdArgs {
		if _, err := strconv.Atoi(arg.Key); err == nil {
			found = append(found, s.member(arg.Key))
		}
	}
	if len(found) == 0 {
		for _, id := range s.w.ids {
			found = append(found, s.w.nodes[id])
		}
	}
	return found
}

func (s *story) number(key string, n int) int {
	s.d.MaybeScanArgs(s.t, key, &n)
	return n
}

func (s *story) word(key string) string {
	var word string
	s.d.MaybeScanArgs(s.t, key, &word)
	return word
}

func (s *story) id(key string) MemberID { return MemberID(s.number(key, 0)) }

func (s *story) ids(key string) []MemberID {
	arg, ok := s.d.Arg(key)
	if !ok {
		return nil
	}
	var ids []MemberID
	for _, v := range arg.Vals {
		ids = append(ids, s.member(v).id)
	}
	return ids
}
