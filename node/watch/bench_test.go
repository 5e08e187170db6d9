package watch

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"raftsman.dev/node/kv"
)

// teller makes batches of one revision and one event.
type teller struct {
	revision kv.Revision
	value    []byte
}

func (t *teller) next(key []byte) kv.Changes {
	t.revision++
	e := kv.Event{KV: kv.KeyValue{Key: key, Value: t.value, CreateRevision: t.revision, ModRevision: t.revision, Version: 1}}
	return kv.Changes{Revision: t.revision, Blocks: [][]byte{kv.AppendEvent(nil, 0, &e)}}
}

func (t *teller) view() History { return &view{store: newStore(), revision: t.revision} }

func benchmarkHub(b *testing.B) (*Hub, *teller) {
	t := &teller{revision: 1, value: make([]byte, 256)}
	h := New(Options{History: t.view, Revision: 1, RingBytes: 1 << 30})
	b.Cleanup(h.Close)
	return h, t
}

func open(b *testing.B, h *Hub, r Request) *Stream {
	s := h.Stream()
	watchMore(b, s, r)
	return s
}

func watchMore(b *testing.B, s *Stream, r Request) {
	if _, err := s.Watch(context.Background(), r); err != nil {
		b.Fatal(err)
	}
	if r, err := s.Next(context.Background()); err != nil || !r.Created {
		b.Fatal(r, err)
	}
}

// drain reads n events of each stream.
func drain(b *testing.B, n int, streams ...*Stream) *sync.WaitGroup {
	var all sync.WaitGroup
	for _, s := range streams {
		all.Go(func() {
			for got := 0; got < n; {
				r, err := s.Next(context.Background())
				if err != nil {
					b.Error(err)
					return
				}
				got += len(r.Events)
			}
		})
	}
	return &all
}

func BenchmarkTellToNobody(b *testing.B) {
	h, t := benchmarkHub(b)
	c := t.next(key(1))
	b.ReportAllocs()
	for b.Loop() {
		c.Revision++
		h.Tell(c)
	}
}

// One operation: a batch of one event is told, found among 100,000 watchers, and taken from its stream.
func BenchmarkOneOf100kKeys(b *testing.B) {
	const watchers = 100_000
	for _, shape := range []string{"keys", "ranges"} {
		b.Run(shape, func(b *testing.B) {
			h, t := benchmarkHub(b)
			s := h.Stream()
			keys := make([][]byte, watchers)
			for i := range keys {
				keys[i] = fmt.Appendf(nil, "key-%06d", i)
				r := Request{Key: keys[i]}
				if shape == "ranges" {
					r.End = append(fmt.Appendf(nil, "key-%06d", i), 'x')
				}
				watchMore(b, s, r)
			}
			b.ReportAllocs()
			b.ResetTimer()
			all := drain(b, b.N, s)
			for i := range b.N {
				h.Tell(t.next(keys[i*7919%watchers]))
			}
			all.Wait()
		})
	}
}

// One operation: a batch of one event is told and taken from each of 1000 streams.
func BenchmarkFanOutTo1000(b *testing.B) {
	h, t := benchmarkHub(b)
	streams := make([]*Stream, 1000)
	for i := range streams {
		streams[i] = open(b, h, Request{Key: []byte("a"), End: []byte("z")})
	}
	b.ReportAllocs()
	b.ResetTimer()
	all := drain(b, b.N, streams...)
	for range b.N {
		h.Tell(t.next(key(1)))
	}
	all.Wait()
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(streams)), "ns/delivery")
}
