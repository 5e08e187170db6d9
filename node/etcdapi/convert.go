package etcdapi

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"raftsman.dev/node/kv"
)

func fromRange(r *pb.RangeRequest) *kv.RangeRequest {
	q := &kv.RangeRequest{
		Key: r.GetKey(), End: r.GetRangeEnd(), Limit: r.GetLimit(), Revision: kv.Revision(r.GetRevision()),
		Order: kv.SortOrder(r.GetSortOrder()), Target: fromSortTarget(r.GetSortTarget()),
		KeysOnly: r.GetKeysOnly(), CountOnly: r.GetCountOnly(),
		MinMod: kv.Revision(r.GetMinModRevision()), MaxMod: kv.Revision(r.GetMaxModRevision()),
		MinCreate: kv.Revision(r.GetMinCreateRevision()), MaxCreate: kv.Revision(r.GetMaxCreateRevision()),
	}
	if q.Target == kv.SortByKey && q.Order == kv.SortAscend {
		q.Order = kv.SortNone // the order in which keys are read anyway: the limit may then stop early
	}
	return q
}

func fromSortTarget(t pb.RangeRequest_SortTarget) kv.SortTarget {
	switch t {
	case pb.RangeRequest_VERSION:
		return kv.SortByVersion
	case pb.RangeRequest_CREATE:
		return kv.SortByCreate
	case pb.RangeRequest_MOD:
		return kv.SortByMod
	case pb.RangeRequest_VALUE:
		return kv.SortByValue
	}
	return kv.SortByKey
}

func fromPut(r *pb.PutRequest) *kv.PutRequest {
	return &kv.PutRequest{
		Key: r.GetKey(), Value: r.GetValue(), Lease: r.GetLease(), PrevKV: r.GetPrevKv(),
		IgnoreValue: r.GetIgnoreValue(), IgnoreLease: r.GetIgnoreLease(),
	}
}

func fromDelete(r *pb.DeleteRangeRequest) *kv.DeleteRequest {
	return &kv.DeleteRequest{Key: r.GetKey(), End: r.GetRangeEnd(), PrevKV: r.GetPrevKv()}
}

func fromTxn(r *pb.TxnRequest) kv.Txn {
	t := kv.Txn{Success: fromOps(r.GetSuccess()), Failure: fromOps(r.GetFailure())}
	for _, c := range r.GetCompare() {
		if q, ok := fromCompare(c); ok {
			t.Compares = append(t.Compares, q)
		}
	}
	return t
}

func fromOps(ops []*pb.RequestOp) []kv.Op {
	var all []kv.Op
	for _, op := range ops {
		switch x := op.GetRequest().(type) {
		case *pb.RequestOp_RequestRange:
			all = append(all, kv.Op{Range: fromRange(x.RequestRange)})
		case *pb.RequestOp_RequestPut:
			all = append(all, kv.Op{Put: fromPut(x.RequestPut)})
		case *pb.RequestOp_RequestDeleteRange:
			all = append(all, kv.Op{Delete: fromDelete(x.RequestDeleteRange)})
		case *pb.RequestOp_RequestTxn:
			nested := fromTxn(x.RequestTxn)
			all = append(all, kv.Op{Txn: &nested})
		}
	}
	return all
}

// fromCompare turns a compare into one of ours; ok is false for one that always holds. As in etcd, what an unknown target
// names equals what it is compared with, and an unknown result holds, but not for the value of a key that is missing.
func fromCompare(c *pb.Compare) (q kv.Compare, ok bool) {
	q = kv.Compare{Key: c.GetKey(), End: c.GetRangeEnd()}
	known := true
	switch c.GetTarget() {
	case pb.Compare_VERSION:
		q.Target, q.Number = kv.CompareVersion, c.GetVersion()
	case pb.Compare_CREATE:
		q.Target, q.Number = kv.CompareCreate, c.GetCreateRevision()
	case pb.Compare_MOD:
		q.Target, q.Number = kv.CompareMod, c.GetModRevision()
	case pb.Compare_VALUE:
		q.Target, q.Value = kv.CompareValue, c.GetValue()
	case pb.Compare_LEASE:
		q.Target, q.Number = kv.CompareLease, c.GetLease()
	default:
		known = false
	}
	switch c.GetResult() {
	case pb.Compare_EQUAL:
		q.Result = kv.CompareEqual
	case pb.Compare_GREATER:
		q.Result = kv.CompareGreater
	case pb.Compare_LESS:
		q.Result = kv.CompareLess
	case pb.Compare_NOT_EQUAL:
		q.Result = kv.CompareNotEqual
	default: // no version is 0
		return kv.Compare{Key: q.Key, End: q.End, Target: kv.CompareVersion, Result: kv.CompareNotEqual}, c.GetTarget() == pb.Compare_VALUE
	}
	if !known { // no version is -1
		return kv.Compare{Key: q.Key, End: q.End, Target: kv.CompareVersion, Number: -1}, q.Result != kv.CompareEqual
	}
	return q, true
}

func toKeyValue(x *kv.KeyValue) *mvccpb.KeyValue {
	if x == nil {
		return nil
	}
	return &mvccpb.KeyValue{
		Key: x.Key, Value: x.Value, CreateRevision: int64(x.CreateRevision),
		ModRevision: int64(x.ModRevision), Version: x.Version, Lease: x.Lease,
	}
}

func toKeyValues(all []kv.KeyValue) []*mvccpb.KeyValue {
	if len(all) == 0 {
		return nil
	}
	out := make([]*mvccpb.KeyValue, len(all))
	for i := range all {
		out[i] = toKeyValue(&all[i])
	}
	return out
}

func toRange(q *pb.RangeRequest, r *kv.RangeResult, h *pb.ResponseHeader) *pb.RangeResponse {
	return &pb.RangeResponse{Header: h, Kvs: toRead(q, r.KVs), More: r.More, Count: r.Count}
}

// toRead turns what a range has read into its answer. As in etcd, which has only their revisions at hand then, keys alone
// come without their leases, unless values are sorted by.
func toRead(q *pb.RangeRequest, all []kv.KeyValue) []*mvccpb.KeyValue {
	out := toKeyValues(all)
	if q.GetKeysOnly() && q.GetSortTarget() != pb.RangeRequest_VALUE {
		for _, x := range out {
			x.Lease = 0
		}
	}
	return out
}

func toPut(r *kv.PutResult, h *pb.ResponseHeader) *pb.PutResponse {
	return &pb.PutResponse{Header: h, PrevKv: toKeyValue(r.Prev)}
}

func toDelete(r *kv.DeleteResult, h *pb.ResponseHeader) *pb.DeleteRangeResponse {
	return &pb.DeleteRangeResponse{Header: h, Deleted: r.Deleted, PrevKvs: toKeyValues(r.Prev)}
}

func toTxn(q *pb.TxnRequest, r *kv.Result, h *pb.ResponseHeader) *pb.TxnResponse {
	t := telling{before: r.Revision}
	if wrote(r.Responses) {
		t.before--
	}
	return t.txn(q, r, h)
}

// wrote reports whether one of the operations changed something.
func wrote(all []kv.OpResult) bool {
	for i := range all {
		r := &all[i]
		if r.Put != nil || r.Delete != nil && r.Delete.Deleted > 0 || r.Txn != nil && wrote(r.Txn.Responses) {
			return true
		}
	}
	return false
}

// telling goes through a transaction's operations in order. As in etcd, the header of each carries a revision only: what
// the transaction has made of the store so far. That of a nested transaction is empty.
type telling struct {
	before kv.Revision // the store's, before the transaction
	wrote  bool        // an operation so far
}

func (t *telling) header() *pb.ResponseHeader {
	if t.wrote {
		return &pb.ResponseHeader{Revision: int64(t.before + 1)}
	}
	return &pb.ResponseHeader{Revision: int64(t.before)}
}

func (t *telling) txn(q *pb.TxnRequest, r *kv.Result, h *pb.ResponseHeader) *pb.TxnResponse {
	out := &pb.TxnResponse{Header: h, Succeeded: r.Succeeded}
	asked := q.GetSuccess()
	if !r.Succeeded {
		asked = q.GetFailure()
	}
	for i := range r.Responses {
		out.Responses = append(out.Responses, t.op(asked[i], &r.Responses[i]))
	}
	return out
}

func (t *telling) op(q *pb.RequestOp, r *kv.OpResult) *pb.ResponseOp {
	t.wrote = t.wrote || r.Put != nil || r.Delete != nil && r.Delete.Deleted > 0
	switch {
	case r.Range != nil:
		h := &pb.ResponseHeader{Revision: int64(r.Range.Revision)}
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseRange{ResponseRange: toRange(q.GetRequestRange(), r.Range, h)}}
	case r.Put != nil:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponsePut{ResponsePut: toPut(r.Put, t.header())}}
	case r.Delete != nil:
		return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: toDelete(r.Delete, t.header())}}
	}
	return &pb.ResponseOp{Response: &pb.ResponseOp_ResponseTxn{ResponseTxn: t.txn(q.GetRequestTxn(), r.Txn, &pb.ResponseHeader{})}}
}
