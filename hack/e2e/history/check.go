package history

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// never is the end of an operation whose outcome is unknown: it may take effect at any time.
const never = math.MaxInt64

// input is an operation as the model sees it.
type input struct {
	write bool
	key   string
	value string
}

// register is the model: each key holds the value that was last written, at first none. Keys do not touch
// each other, so each is checked on its own.
func register() porcupine.Model {
	return porcupine.Model{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			byKey := map[string][]porcupine.Operation{}
			for _, o := range all {
				key := o.Input.(input).key
				byKey[key] = append(byKey[key], o)
			}
			return slices.Collect(maps.Values(byKey))
		},
		Init: func() any { return "" },
		Step: func(state, in, out any) (bool, any) {
			op := in.(input)
			if op.write {
				return true, op.value
			}
			return out.(string) == state.(string), state
		},
		DescribeOperation: func(in, out any) string {
			op := in.(input)
			if op.write {
				return fmt.Sprintf("put %s %s", op.key, op.value)
			}
			return fmt.Sprintf("get %s = %q", op.key, out)
		},
	}
}

// CheckLinearizable says whether one order of all operations, each at one moment between its start and its
// end, explains everything that was read. A check that does not come to its end in time is an error too.
func (h History) CheckLinearizable(limit time.Duration) error {
	if err := h.checkValues(); err != nil {
		return err
	}
	model := register()
	operations := h.operations()
	switch porcupine.CheckOperationsTimeout(model, operations, limit) {
	case porcupine.Ok:
		return nil
	case porcupine.Unknown:
		return fmt.Errorf("whether the history of %d operations is linearizable was not decided within %v: use more keys or a shorter run", len(operations), limit)
	}
	for _, part := range model.Partition(operations) {
		if !porcupine.CheckOperations(model, part) {
			return fmt.Errorf("the history is not linearizable: no order explains the %d operations on key %s:\n%s", len(part), part[0].Input.(input).key, story(part))
		}
	}
	return fmt.Errorf("the history of %d operations is not linearizable", len(operations))
}

// checkValues holds what everything rests on: a value is written once, and nothing is read that nobody wrote.
func (h History) checkValues() error {
	type place struct{ key, value string }
	written := map[place]bool{}
	for _, o := range h {
		if o.Kind != Put {
			continue
		}
		at := place{o.Key, o.Value}
		if o.Value == "" || written[at] {
			return fmt.Errorf("the value %q of key %s was written twice or is empty: such a history decides nothing", o.Value, o.Key)
		}
		written[at] = o.Outcome != Failed
	}
	for _, o := range h {
		if o.Kind == Get && o.Outcome == OK && o.Value != "" && !written[place{o.Key, o.Value}] {
			return fmt.Errorf("client %d read %q from key %s at %v: nobody wrote that, or its write was refused", o.Client, o.Value, o.Key, o.End)
		}
	}
	return nil
}

// operations turns a history into the checker's terms. A write whose outcome is unknown is left out when
// nobody saw its value, for then it may never have happened; one that was seen had happened by then. Neither
// changes the verdict, and both save the checker an exponential search.
func (h History) operations() []porcupine.Operation {
	seen := map[string]time.Duration{} // when the value of a key was first seen
	for _, o := range h {
		if o.Kind == Get && o.Outcome == OK && o.Value != "" {
			at, ok := seen[o.Key+"\x00"+o.Value]
			if !ok || o.End < at {
				seen[o.Key+"\x00"+o.Value] = o.End
			}
		}
	}
	var all []porcupine.Operation
	for _, o := range h {
		op := porcupine.Operation{ClientId: o.Client, Input: input{o.Kind == Put, o.Key, o.Value}, Call: int64(o.Start), Output: o.Value, Return: int64(o.End)}
		switch {
		case o.Outcome == Failed, o.Kind == Get && o.Outcome != OK:
			continue
		case o.Outcome == Unknown:
			at, ok := seen[o.Key+"\x00"+o.Value]
			if !ok {
				continue
			}
			op.Return = never
			if at > o.Start {
				op.Return = int64(at)
			}
		}
		all = append(all, op)
	}
	return all
}

// story lists the operations on one key for people, the last ones when there are many.
func story(part []porcupine.Operation) string {
	const most = 40
	slices.SortFunc(part, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	var text []byte
	for _, o := range part[max(0, len(part)-most):] {
		in, end := o.Input.(input), "never"
		if o.Return != never {
			end = time.Duration(o.Return).String()
		}
		word := "get"
		if in.write {
			word = "put"
		}
		text = fmt.Appendf(text, "  %v to %s: client %d %s %q\n", time.Duration(o.Call), end, o.ClientId, word, o.Output)
	}
	return string(text)
}

// CheckKept says whether every acknowledged write to a key that is written once is there at the end: final
// holds what was read of these keys after all writers had stopped.
func (h History) CheckKept(final map[string]string) error {
	writes := map[string]int{}
	for _, o := range h {
		if o.Kind == Put {
			writes[o.Key]++
		}
	}
	var lost []string
	checked := 0
	for _, o := range h {
		if o.Kind != Put || o.Outcome != OK || writes[o.Key] != 1 {
			continue
		}
		checked++
		if got := final[o.Key]; got != o.Value {
			lost = append(lost, fmt.Sprintf("%s: %q was acknowledged at %v, and %q is there", o.Key, o.Value, o.End, got))
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("%d of %d acknowledged writes are lost; the first: %s", len(lost), checked, lost[0])
	}
	if checked == 0 {
		return fmt.Errorf("no acknowledged write to a key of its own among %d operations: nothing was checked", len(h))
	}
	return nil
}
