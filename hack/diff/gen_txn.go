package main

import (
	"slices"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// maxDepth is how deep transactions nest, and maxTxnOps how many operations etcd takes in one.
const (
	maxDepth  = 3
	maxTxnOps = 128
)

func (g *generator) txnOp() op {
	switch {
	case g.rarely(150):
		return op{Kind: "Txn", Req: g.fullTxn()}
	case g.rarely(150):
		return op{Kind: "Txn", Pad: large + 1, Req: &pb.TxnRequest{Success: []*pb.RequestOp{opPut(&pb.PutRequest{Key: []byte("a")})}}}
	}
	for {
		if t := g.txn(1, g.rarely(4)); !disputed(t) {
			return op{Kind: "Txn", Req: t}
		}
	}
}

// disputed reports whether a transaction may put and delete one key in a way that etcd lets pass and Raftsman does not,
// as node/etcdapi/differences.md says: the deletion is to the open end "\0", or it is in a nested transaction and the put
// in another before it.
func disputed(t *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{t.GetSuccess(), t.GetFailure()} {
		var all, nested writes
		for _, o := range branch {
			all.add(o)
			if o.GetRequestTxn() == nil {
				continue
			}
			var own writes
			own.add(o)
			if own.meet(nested) || disputed(o.GetRequestTxn()) {
				return true
			}
			nested.add(o)
		}
		if all.open() {
			return true
		}
	}
	return false
}

// writes are the keys that are put and the ranges that are deleted somewhere.
type writes struct {
	puts    []string
	deletes []*pb.DeleteRangeRequest
}

func (w *writes) add(o *pb.RequestOp) {
	if p := o.GetRequestPut(); p != nil {
		w.puts = append(w.puts, string(p.GetKey()))
	}
	if d := o.GetRequestDeleteRange(); d != nil {
		w.deletes = append(w.deletes, d)
	}
	for _, x := range append(o.GetRequestTxn().GetSuccess(), o.GetRequestTxn().GetFailure()...) {
		w.add(x)
	}
}

// meet reports whether one of the deletions takes a key that the others put.
func (w writes) meet(others writes) bool {
	return slices.ContainsFunc(w.deletes, func(d *pb.DeleteRangeRequest) bool {
		return slices.ContainsFunc(others.puts, func(key string) bool {
			end := string(d.GetRangeEnd())
			return key == string(d.GetKey()) || key > string(d.GetKey()) && (key < end || end == "\x00")
		})
	})
}

// open reports whether there is a deletion to the open end that takes a key that is put.
func (w writes) open() bool {
	return slices.ContainsFunc(w.deletes, func(d *pb.DeleteRangeRequest) bool {
		return string(d.GetRangeEnd()) == "\x00" && writes{deletes: []*pb.DeleteRangeRequest{d}}.meet(w)
	})
}

// fullTxn is one at the bound, or just beyond it, also by its nesting.
func (g *generator) fullTxn() *pb.TxnRequest {
	reads := func(n int) (all []*pb.RequestOp) {
		for range n {
			all = append(all, opRange(&pb.RangeRequest{Key: g.key()}))
		}
		return all
	}
	outer := pick(g, 1, maxTxnOps/2, maxTxnOps-1, maxTxnOps, maxTxnOps+1)
	t := &pb.TxnRequest{}
	if g.rarely(3) {
		for range outer {
			t.Compare = append(t.Compare, &pb.Compare{Key: []byte("a"), Result: pb.Compare_NOT_EQUAL, Target: pb.Compare_VERSION, TargetUnion: &pb.Compare_Version{Version: -1}})
		}
	} else {
		t.Success = reads(outer - 1)
	}
	inner := &pb.TxnRequest{Success: reads(pick(g, 0, 1, maxTxnOps/2, maxTxnOps-1))}
	t.Success = append(t.Success, opTxn(inner))
	return t
}

func opRange(r *pb.RangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
}

func opPut(r *pb.PutRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: r}}
}

func opDelete(r *pb.DeleteRangeRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: r}}
}

func opTxn(r *pb.TxnRequest) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: r}}
}

// txn draws a transaction; one in reads only reads.
func (g *generator) txn(depth int, reads bool) *pb.TxnRequest {
	t := &pb.TxnRequest{}
	for range g.IntN(3) {
		t.Compare = append(t.Compare, g.compare())
	}
	t.Success, t.Failure = g.branch(depth, reads), g.branch(depth, reads)
	return t
}

// branch draws operations. Most keep their keys apart: else nearly every transaction would be refused.
func (g *generator) branch(depth int, reads bool) (all []*pb.RequestOp) {
	careless := g.rarely(12)
	for range g.IntN(4) {
		switch n := g.IntN(10); {
		case reads || n < 3:
			r := g.sorted(g.rangeRequest())
			if !g.rarely(4) {
				r.Revision = 0
			}
			r.Revision = max(r.Revision, 0) // see node/etcdapi/differences.md
			all = append(all, opRange(r))
		case n < 7:
			all = append(all, opPut(g.put()))
		case n < 8:
			all = append(all, opDelete(g.deleteRequest()))
		case depth < maxDepth:
			all = append(all, opTxn(g.txn(depth+1, reads)))
		case g.rarely(10):
			all = append(all, &pb.RequestOp{})
		}
	}
	if careless {
		return all
	}
	return g.apart(all)
}

// apart leaves out the puts of keys that were put or deleted before in the list, most of the time.
func (g *generator) apart(ops []*pb.RequestOp) (kept []*pb.RequestOp) {
	for _, o := range ops {
		kept = append(kept, o)
		if (o.GetRequestPut() != nil || o.GetRequestTxn() != nil) && collides(kept) {
			kept = kept[:len(kept)-1]
		}
	}
	return kept
}

// collides reports whether a key is written twice at the list's own level; nested ones are left to chance.
func collides(ops []*pb.RequestOp) bool {
	seen := map[string]bool{}
	for _, o := range ops {
		p := o.GetRequestPut()
		if p == nil {
			continue
		}
		if seen[string(p.GetKey())] {
			return true
		}
		seen[string(p.GetKey())] = true
		for _, d := range ops {
			if x := d.GetRequestDeleteRange(); x != nil && (string(x.GetKey()) == string(p.GetKey()) || len(x.GetRangeEnd()) > 0) {
				return true
			}
		}
	}
	return false
}

func (g *generator) compare() *pb.Compare {
	c := &pb.Compare{Key: g.key(), Result: pb.Compare_CompareResult(g.IntN(4)), Target: pb.Compare_CompareTarget(g.IntN(5))}
	c.RangeEnd = g.end(c.Key, 4)
	target := c.Target
	if g.rarely(40) {
		target = pb.Compare_CompareTarget(g.IntN(6)) // of another kind than it says, or none
	}
	switch target {
	case pb.Compare_VERSION:
		c.TargetUnion = &pb.Compare_Version{Version: g.number()}
	case pb.Compare_CREATE:
		c.TargetUnion = &pb.Compare_CreateRevision{CreateRevision: g.number()}
	case pb.Compare_MOD:
		c.TargetUnion = &pb.Compare_ModRevision{ModRevision: g.number()}
	case pb.Compare_VALUE:
		c.TargetUnion = &pb.Compare_Value{Value: g.value()}
	case pb.Compare_LEASE:
		c.TargetUnion = &pb.Compare_Lease{Lease: pick(g, 0, g.lease())}
	}
	if g.rarely(100) {
		c.Result = pick(g, pb.Compare_CompareResult(4), -1)
	}
	if g.rarely(100) {
		c.Target = pick(g, pb.Compare_CompareTarget(5), -1)
	}
	return c
}
