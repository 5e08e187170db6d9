package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// maxTrials and maxShrinking bound the search for a shorter script.
const (
	maxTrials    = 400
	maxShrinking = 15 * time.Minute
)

// replay runs a script on fresh stores.
func replay(p *pairs, script []op) (*difference, error) {
	stores, err := p.take()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(p.ctx)
	d, err := newSession(ctx, stores, newMatrix()).play(script)
	cancel()
	return d, errors.Join(err, stores.stop())
}

func (s *session) play(script []op) (*difference, error) {
	for _, o := range script {
		if d, err := s.step(o); d != nil || err != nil {
			return d, err
		}
	}
	return s.finish()
}

// shrinker looks for the shortest script that still shows a difference.
type shrinker struct {
	pairs  *pairs
	out    io.Writer
	trials int
	kind   string // of the operation after which it showed first
	until  time.Time
	best   []op
	text   string
}

// try runs a candidate and keeps it if it shows a difference.
func (s *shrinker) try(candidate []op) bool {
	if s.trials >= maxTrials || time.Now().After(s.until) || s.pairs.ctx.Err() != nil {
		return false
	}
	s.trials++
	d, err := replay(s.pairs, candidate)
	if err != nil {
		fmt.Fprintf(s.out, "trial %d says nothing: %v\n", s.trials, err)
		return false
	}
	if d == nil {
		return false
	}
	if kind := kindAt(candidate, d.at); kind != s.kind { // one that is allowed, for what it shows is what sequences are made to avoid
		fmt.Fprintf(s.out, "trial %d shows something else, after %s\n", s.trials, kind)
		return false
	}
	s.best, s.text = slices.Clone(candidate[:min(d.at+1, len(candidate))]), d.text
	fmt.Fprintf(s.out, "trial %d: %d operations show it\n", s.trials, len(s.best))
	return true
}

// kindAt is the kind of the operation after which a difference showed; one that showed in the end has one of its own.
func kindAt(script []op, at int) string {
	if at >= len(script) {
		return "the end"
	}
	return script[at].Kind
}

// shrink returns a short script that shows a difference, and the difference; ok is false if the sequence does not show
// one again.
func shrink(p *pairs, out io.Writer, script []op) (best []op, text string, ok bool) {
	s := &shrinker{pairs: p, out: out, until: time.Now().Add(maxShrinking), best: script, kind: kindAt(script, len(script)-1)}
	shown := s.try(script)
	if !shown { // timing may have hidden it
		shown = s.try(script)
	}
	if !shown {
		return script, "", false
	}
	s.dropOps()
	s.simplify()
	return s.best, s.text, true
}

// dropOps leaves out halves, quarters and so on, down to single operations.
func (s *shrinker) dropOps() {
	for size := (len(s.best) + 1) / 2; size >= 1; {
		dropped := false
		for from := len(s.best) - size; ; from -= size {
			from = min(max(from, 0), len(s.best))
			to := min(from+size, len(s.best))
			if to > from && len(s.best) > 1 && s.try(slices.Concat(s.best[:from], s.best[to:])) {
				dropped = true
			}
			if from == 0 {
				break
			}
		}
		if size == 1 && !dropped {
			return
		}
		if size > 1 {
			size = (size + 1) / 2
		}
	}
}

// simplify leaves out fields of the requests and elements of their lists, as long as the difference stays.
func (s *shrinker) simplify() {
	for i := 0; i < len(s.best); i++ {
		for n := 0; i < len(s.best); {
			smaller := proto.Clone(s.best[i].Req)
			left := n
			if !clearNth(smaller.ProtoReflect(), &left) {
				break
			}
			candidate := slices.Clone(s.best)
			candidate[i].Req = smaller
			if !s.try(candidate) {
				n++
			}
		}
	}
}

// clearNth clears the nth field or list element of a message, those within it first; false if there are fewer.
func clearNth(m protoreflect.Message, n *int) bool {
	done := false
	var fields []protoreflect.FieldDescriptor
	m.Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		fields = append(fields, f)
		return true
	})
	slices.SortFunc(fields, func(a, b protoreflect.FieldDescriptor) int { return int(a.Number()) - int(b.Number()) })
	for _, f := range fields {
		if done = clearIn(m, f, n); done {
			return true
		}
		if *n--; *n < 0 {
			m.Clear(f)
			return true
		}
	}
	return false
}

func clearIn(m protoreflect.Message, f protoreflect.FieldDescriptor, n *int) bool {
	switch {
	case f.IsList():
		list := m.Mutable(f).List()
		for i := range list.Len() {
			if f.Kind() == protoreflect.MessageKind && clearNth(list.Get(i).Message(), n) {
				return true
			}
			if *n--; *n < 0 {
				for j := i + 1; j < list.Len(); j++ {
					list.Set(j-1, list.Get(j))
				}
				list.Truncate(list.Len() - 1)
				return true
			}
		}
	case f.Kind() == protoreflect.MessageKind:
		return clearNth(m.Mutable(f).Message(), n)
	}
	return false
}
