package history

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

const limit = 20 * time.Second

func put(value string, start, end int, outcome Outcome) Operation {
	return Operation{Kind: Put, Key: "k", Value: value, Start: time.Duration(start), End: time.Duration(end), Outcome: outcome}
}

func get(value string, start, end int) Operation {
	return Operation{Client: 1, Kind: Get, Key: "k", Value: value, Start: time.Duration(start), End: time.Duration(end), Outcome: OK}
}

func TestVerdicts(t *testing.T) {
	cases := []struct {
		name string
		h    History
		want string // part of the error, empty for a good history
	}{
		{"write then read", History{put("a", 0, 1, OK), get("a", 2, 3)}, ""},
		{"nothing before the write", History{get("", 0, 1), put("a", 2, 3, OK)}, ""},
		{"a concurrent read may see either", History{put("a", 0, 1, OK), put("b", 2, 5, OK), get("a", 3, 4), get("b", 6, 7)}, ""},
		{"an acknowledged write is lost", History{put("a", 0, 1, OK), get("", 2, 3)}, "not linearizable"},
		{"a stale read", History{put("a", 0, 1, OK), put("b", 2, 3, OK), get("a", 4, 5)}, "not linearizable"},
		{"time runs backwards", History{put("a", 0, 1, OK), put("b", 2, 9, OK), get("b", 3, 4), get("a", 5, 6)}, "not linearizable"},
		{"an unknown write may happen late", History{put("a", 0, 1, OK), put("b", 2, 3, Unknown), get("a", 4, 5), get("b", 6, 7)}, ""},
		{"an unknown write may never happen", History{put("a", 0, 1, OK), put("b", 2, 3, Unknown), get("a", 4, 5), get("a", 6, 7)}, ""},
		{"an unknown write happens once", History{put("b", 0, 1, Unknown), get("b", 2, 3), put("a", 4, 5, OK), get("a", 6, 7), get("b", 8, 9)}, "not linearizable"},
		{"an unknown write does not undo itself", History{put("a", 0, 1, OK), put("b", 2, 3, Unknown), get("b", 4, 5), get("a", 6, 7)}, "not linearizable"},
		{"a refused write is seen", History{put("a", 0, 1, Failed), get("a", 2, 3)}, "refused"},
		{"a value from nowhere", History{get("z", 0, 1)}, "nobody wrote"},
		{"a value written twice", History{put("a", 0, 1, OK), put("a", 2, 3, OK)}, "written twice"},
		{"a read of unknown outcome says nothing", History{put("a", 0, 1, OK), {Kind: Get, Key: "k", Start: 2, End: 3, Outcome: Unknown}}, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			switch err := c.h.CheckLinearizable(limit); {
			case c.want == "" && err != nil:
				t.Error(err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

// TestRandomHistories makes histories of a real register, whose operations take effect somewhere between
// start and end; all are linearizable. Then it tells one lie in each.
func TestRandomHistories(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) % 1_000_000
	t.Logf("seed=%d", seed)
	for round := range 200 {
		rng := rand.New(rand.NewPCG(seed, uint64(round)))
		h := honest(rng, 60)
		if err := h.CheckLinearizable(limit); err != nil {
			t.Fatalf("round %d: an honest history is refused: %v", round, err)
		}
		last := h[len(h)-1].End + 1000
		acked := slices.IndexFunc(h, func(o Operation) bool { return o.Kind == Put && o.Outcome == OK })
		if acked < 0 {
			continue
		}
		// A read after everything that finds nothing cannot be explained once a write was acknowledged.
		lie := append(slices.Clone(h), Operation{Client: 99, Kind: Get, Key: h[acked].Key, Start: last, End: last + 1, Outcome: OK})
		if lie.CheckLinearizable(limit) == nil {
			t.Fatalf("round %d: a lost write is not found", round)
		}
	}
}

// honest runs one register a key under overlapping operations of several clients.
func honest(rng *rand.Rand, n int) History {
	var h History
	state := map[string]string{}
	type late struct{ key, value string }
	var pending []late
	free := make([]int, 4) // when each client is free again
	for i := range n {
		moment := 10 * (i + 1) // the operation takes effect then
		client := i % len(free)
		o := Operation{Client: client, Key: fmt.Sprint("k", rng.IntN(3)), Outcome: OK, Start: time.Duration(max(free[client], moment-rng.IntN(40))), End: time.Duration(moment + rng.IntN(39))}
		free[client] = int(o.End)
		for j := 0; j < len(pending); j++ { // what is in doubt may take effect now
			if rng.IntN(10) == 0 {
				state[pending[j].key] = pending[j].value
				pending = slices.Delete(pending, j, j+1)
			}
		}
		if rng.IntN(2) == 0 {
			o.Kind, o.Value = Put, fmt.Sprint("v", i)
			if rng.IntN(5) == 0 {
				o.Outcome = Unknown
				pending = append(pending, late{o.Key, o.Value})
			} else {
				state[o.Key] = o.Value
			}
		} else {
			o.Kind, o.Value = Get, state[o.Key]
		}
		if o.Start > time.Duration(moment) { // the client was busy: it skips this turn
			if o.Kind == Put && o.Outcome == OK {
				o.Outcome = Unknown // but the register has it: nobody was told
				o.Start = time.Duration(moment)
			} else {
				continue
			}
		}
		h = append(h, o)
	}
	return h
}

func TestKept(t *testing.T) {
	h := History{
		{Kind: Put, Key: "own/1", Value: "1", Outcome: OK},
		{Kind: Put, Key: "own/2", Value: "2", Outcome: Unknown},
		{Kind: Put, Key: "shared", Value: "3", Outcome: OK},
		{Kind: Put, Key: "shared", Value: "4", Outcome: OK},
	}
	if err := h.CheckKept(map[string]string{"own/1": "1", "shared": "4"}); err != nil {
		t.Error(err)
	}
	if err := h.CheckKept(map[string]string{"own/2": "2"}); err == nil || !strings.Contains(err.Error(), "own/1") {
		t.Errorf("a lost write is not named: %v", err)
	}
	if err := h[1:2].CheckKept(nil); err == nil {
		t.Error("a history in which nothing was acknowledged passes")
	}
}

func TestGapAndFigures(t *testing.T) {
	ms := time.Millisecond
	h := History{
		{Kind: Put, Key: "a", Value: "1", Start: 0, End: 100 * ms, Outcome: OK},
		{Kind: Put, Key: "b", Value: "2", Start: 100 * ms, End: 1100 * ms, Outcome: Unknown},
		{Kind: Get, Key: "a", Value: "1", Start: 100 * ms, End: 300 * ms, Outcome: OK},
		{Kind: Put, Key: "c", Value: "3", Start: 0, End: 900 * ms, Outcome: OK},
		{Kind: Put, Key: "d", Value: "4", Start: 0, End: 950 * ms, Outcome: Failed},
	}
	if g := h.LargestGap(time.Second); g.From != 100*ms || g.To != 900*ms {
		t.Errorf("the largest gap is %v", g)
	}
	if g := h.LargestGap(3 * time.Second); g.Length() != 2100*ms {
		t.Errorf("a run that ends without an answer has the gap %v", g)
	}
	f := h.Figures(2 * time.Second)
	if f.Writes != 2 || f.Reads != 1 || f.Unknown != 1 || f.Failed != 1 || f.PerSecond != 1 {
		t.Errorf("figures: %v", f)
	}
}

func TestWriteAndRead(t *testing.T) {
	h := honest(rand.New(rand.NewPCG(1, 2)), 50)
	var file bytes.Buffer
	if err := h.Write(&file); err != nil {
		t.Fatal(err)
	}
	text := file.String()
	back, err := Read(&file)
	if err != nil || !slices.Equal(back, h) {
		t.Errorf("a history does not survive: %v", err)
	}
	if _, err := Read(strings.NewReader(text[:len(text)-5])); err == nil {
		t.Error("a history that was cut off passes")
	}
}
