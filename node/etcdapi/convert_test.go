package etcdapi

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"raftsman.dev/node/kv"
)

// TestUnknownCompares turns compares of kinds that there are not into ones that end as etcd's do.
func TestUnknownCompares(t *testing.T) {
	key := []byte("k")
	never := kv.Compare{Key: key, Target: kv.CompareVersion, Result: kv.CompareEqual, Number: -1}
	for _, c := range []struct {
		target pb.Compare_CompareTarget
		result pb.Compare_CompareResult
		want   *kv.Compare // nil: there is nothing to compare
	}{
		{5, pb.Compare_EQUAL, nil},
		{5, pb.Compare_NOT_EQUAL, &never},
		{5, pb.Compare_LESS, &never},
		{5, pb.Compare_GREATER, &never},
		{5, 4, nil},
		{pb.Compare_MOD, -1, nil},
		{pb.Compare_VALUE, 4, &kv.Compare{Key: key, Target: kv.CompareVersion, Result: kv.CompareNotEqual}},
		{-1, pb.Compare_NOT_EQUAL, &never},
	} {
		got, ok := fromCompare(&pb.Compare{Key: key, Target: c.target, Result: c.result})
		if ok != (c.want != nil) {
			t.Errorf("target %d, result %d: compared is %v", c.target, c.result, ok)
		}
		if c.want == nil || !ok {
			continue
		}
		if got.Target != c.want.Target || got.Result != c.want.Result || got.Number != c.want.Number || string(got.Key) != "k" {
			t.Errorf("target %d, result %d: %+v, want %+v", c.target, c.result, got, *c.want)
		}
	}
}

// TestKeysAloneHaveNoLease reads keys alone, in a transaction that is nested in the failed branch of another.
func TestKeysAloneHaveNoLease(t *testing.T) {
	read := func(target pb.RangeRequest_SortTarget, keysOnly bool) *pb.RequestOp {
		r := &pb.RangeRequest{Key: []byte("k"), KeysOnly: keysOnly, SortTarget: target}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: r}}
	}
	nest := func(t *pb.TxnRequest) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: t}}
	}
	asked := &pb.TxnRequest{
		Success: []*pb.RequestOp{read(pb.RangeRequest_KEY, false)},
		Failure: []*pb.RequestOp{nest(&pb.TxnRequest{Success: []*pb.RequestOp{
			read(pb.RangeRequest_KEY, true), read(pb.RangeRequest_VALUE, true), read(pb.RangeRequest_KEY, false),
		}})},
	}
	found := func() kv.OpResult {
		return kv.OpResult{Range: &kv.RangeResult{KVs: []kv.KeyValue{{Key: []byte("k"), Lease: 7}}}}
	}
	nested := &kv.Result{Succeeded: true, Responses: []kv.OpResult{found(), found(), found()}}
	got := toTxn(asked, &kv.Result{Responses: []kv.OpResult{{Txn: nested}}}, &pb.ResponseHeader{})
	for i, want := range []int64{0, 7, 7} {
		r := got.GetResponses()[0].GetResponseTxn().GetResponses()[i].GetResponseRange()
		if lease := r.GetKvs()[0].GetLease(); lease != want {
			t.Errorf("read %d: lease %d, want %d", i, lease, want)
		}
	}
}
