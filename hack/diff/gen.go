package main

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// generator draws requests. What it knows of the state comes from etcd's answers.
type generator struct {
	*rand.Rand
	oracle *side
	// opened counts the streams that were ever opened: a number is not used again.
	opened int
}

func newGenerator(seed uint64, oracle *side) *generator {
	return &generator{Rand: rand.New(rand.NewPCG(seed, 0)), oracle: oracle}
}

// choice is one thing to draw, weight times in the sum of all weights.
type choice struct {
	weight int
	draw   func() op
}

// next draws the next request of the sequence.
func (g *generator) next() op {
	all := []choice{
		{180, g.rangeOp}, {80, g.rangeStreamOp}, {220, g.putOp}, {70, g.deleteOp}, {190, g.txnOp}, {20, g.compactOp},
		{45, g.createWatch}, {20, g.cancelWatch}, {15, g.progressWatch}, {6, g.closeWatch},
		{40, g.grantOp}, {20, g.revokeOp}, {15, g.keepAliveOp}, {20, g.timeToLiveOp}, {10, g.leasesOp},
		{10, g.hashKVOp}, {1, g.defragmentOp}, {2, g.alarmOp}, {1, g.hashOp},
	}
	sum := 0
	for _, c := range all {
		sum += c.weight
	}
	n := g.IntN(sum)
	for _, c := range all {
		if n -= c.weight; n < 0 {
			o := c.draw()
			o.Member = g.IntN(members)
			return o
		}
	}
	panic("unreachable: n is below the sum of all weights")
}

// rarely is true once in n times.
func (g *generator) rarely(n int) bool { return g.IntN(n) == 0 }

// pick draws one of them.
func pick[T any](g *generator, all ...T) T { return all[g.IntN(len(all))] }

// key draws one of a few keys, so that requests meet; an empty one is an error nearly everywhere.
func (g *generator) key() []byte {
	if g.rarely(60) {
		return pick(g, nil, []byte{0}, []byte("\xff"), []byte("b\x00"), bytes.Repeat([]byte("k"), 300))
	}
	return []byte(pick(g, "a", "b", "c", "d", "aa", "ab", "b1", "b2", "b3", "b4"))
}

// end draws the end of a range: mostly none, else after the key, everything, or odd.
func (g *generator) end(key []byte, ranged int) []byte {
	if !g.rarely(ranged) {
		return nil
	}
	switch g.IntN(8) {
	case 0:
		return []byte{0}
	case 1:
		return slices.Clone(key)
	case 2:
		return g.key()
	case 3:
		return []byte("\xff\xff")
	case 4:
		return append(slices.Clone(key), 0)
	}
	end := slices.Clone(key)
	if len(end) > 0 && end[len(end)-1] < 0xff {
		end[len(end)-1]++
	}
	return end
}

func (g *generator) value() []byte {
	switch g.IntN(20) {
	case 0:
		return nil
	case 1:
		return bytes.Repeat([]byte{byte('a' + g.IntN(26))}, g.IntN(5000))
	case 2:
		return []byte{0, 0xff}
	}
	return []byte(pick(g, "1", "2", "3", "22", "x"))
}

// revision draws one around the borders of what can be read; mostly none.
func (g *generator) revision(often int) int64 {
	if !g.rarely(often) {
		return 0
	}
	head, compacted := g.oracle.head, g.oracle.compacted
	switch g.IntN(16) {
	case 0:
		return compacted - 1
	case 1:
		return compacted
	case 2:
		return compacted + 1
	case 3:
		return head
	case 4:
		return head - 1
	case 5:
		return head + 1
	case 6:
		return pick(g, 1, -1, math.MaxInt64, math.MinInt64, head+1000, math.MaxInt32)
	}
	return compacted + g.Int64N(max(head-compacted, 1))
}

// number draws a revision, version or the like to compare with or to filter by.
func (g *generator) number() int64 {
	switch g.IntN(6) {
	case 0:
		return g.oracle.head - g.Int64N(5)
	case 1:
		return g.revision(1)
	}
	return g.Int64N(4)
}

func (g *generator) limit() int64 {
	switch g.IntN(30) {
	case 0:
		return pick[int64](g, -1, math.MaxInt64, math.MinInt64, math.MaxInt64-1, math.MaxInt32)
	case 1, 2, 3, 4, 5, 6, 7, 8:
		return 1 + g.Int64N(4)
	}
	return 0
}

func (g *generator) rangeRequest() *pb.RangeRequest {
	r := &pb.RangeRequest{
		Key: g.key(), Limit: g.limit(), Revision: g.revision(4), Serializable: g.rarely(4),
		KeysOnly: g.rarely(8), CountOnly: g.rarely(10),
	}
	r.RangeEnd = g.end(r.Key, 2)
	return r
}

// sorted adds an order, filters, or an order that there is not.
func (g *generator) sorted(r *pb.RangeRequest) *pb.RangeRequest {
	if g.rarely(3) {
		r.SortOrder, r.SortTarget = pb.RangeRequest_SortOrder(g.IntN(3)), pb.RangeRequest_SortTarget(g.IntN(5))
	}
	if g.rarely(60) {
		r.SortOrder = pick(g, pb.RangeRequest_SortOrder(3), -1)
	}
	if g.rarely(60) {
		r.SortTarget = pick(g, pb.RangeRequest_SortTarget(5), -1)
	}
	for _, f := range []*int64{&r.MinModRevision, &r.MaxModRevision, &r.MinCreateRevision, &r.MaxCreateRevision} {
		if g.rarely(20) {
			*f = g.number()
		}
	}
	return r
}

func (g *generator) rangeOp() op { return op{Kind: "Range", Req: g.sorted(g.rangeRequest())} }

func (g *generator) rangeStreamOp() op {
	r := g.rangeRequest()
	if g.rarely(4) {
		g.sorted(r)
	}
	if r.GetSortOrder() == pb.RangeRequest_NONE && r.GetSortTarget() <= pb.RangeRequest_VALUE {
		r.SortTarget = pb.RangeRequest_KEY // see node/etcdapi/differences.md
	}
	return op{Kind: "RangeStream", Req: r}
}

func (g *generator) put() *pb.PutRequest {
	r := &pb.PutRequest{Key: g.key(), Value: g.value(), PrevKv: g.rarely(4)}
	if g.rarely(5) {
		r.Lease = g.lease()
	}
	if g.rarely(12) {
		r.IgnoreValue = true
		if !g.rarely(4) {
			r.Value = nil
		}
	}
	if g.rarely(12) {
		r.IgnoreLease = true
		if !g.rarely(4) {
			r.Lease = 0
		}
	}
	return r
}

// large is how many bytes a request may have, and frame how many a message.
const (
	large = 3 << 19
	frame = large + 512<<10
)

func (g *generator) putOp() op {
	o := op{Kind: "Put", Req: g.put()}
	if g.rarely(150) {
		o.Pad = pick(g, large/2, large-50, large-16, large, large+1, frame-100, frame, frame+1)
	}
	return o
}

func (g *generator) deleteRequest() *pb.DeleteRangeRequest {
	r := &pb.DeleteRangeRequest{Key: g.key(), PrevKv: g.rarely(3)}
	r.RangeEnd = g.end(r.Key, 3)
	return r
}

func (g *generator) deleteOp() op {
	o := op{Kind: "DeleteRange", Req: g.deleteRequest()}
	if g.rarely(150) {
		o.Pad = large + 1
	}
	return o
}

func (g *generator) compactOp() op {
	at := g.revision(1)
	if g.rarely(2) {
		at = g.oracle.compacted + 1 + g.Int64N(max(g.oracle.head-g.oracle.compacted, 1))
	}
	if g.rarely(40) {
		at = 0
	}
	return op{Kind: "Compact", Req: &pb.CompactionRequest{Revision: at, Physical: g.rarely(3)}}
}

// hashKVOp asks for none of the checksums that etcd has taken in its compactions: see node/etcdapi/differences.md.
func (g *generator) hashKVOp() op {
	for {
		if at := g.revision(2); !g.oracle.compactions[at] {
			return op{Kind: "HashKV", Req: &pb.HashKVRequest{Revision: at}}
		}
	}
}

func (g *generator) hashOp() op       { return op{Kind: "Hash", Req: &pb.HashRequest{}} }
func (g *generator) defragmentOp() op { return op{Kind: "Defragment", Req: &pb.DefragmentRequest{}} }

func (g *generator) alarmOp() op {
	return op{Kind: "Alarm", Req: &pb.AlarmRequest{
		Action: pick(g, pb.AlarmRequest_GET, pb.AlarmRequest_DEACTIVATE), Alarm: pb.AlarmType(g.IntN(3)),
	}}
}
