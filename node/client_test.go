package node

import (
	"bytes"
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// clients are the services of one member.
type clients struct {
	kv          pb.KVClient
	cluster     pb.ClusterClient
	maintenance pb.MaintenanceClient
}

func single(t *testing.T, change func(*Config)) (*bench, clients) {
	b := newBench(t)
	b.group(change, "a")
	c := b.dial("a")
	return b, clients{pb.NewKVClient(c), pb.NewClusterClient(c), pb.NewMaintenanceClient(c)}
}

func opPut(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

func opDelete(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func opTxn(then, otherwise []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: then, Failure: otherwise}}}
}

func many(n int, op func(i int) *pb.RequestOp) (all []*pb.RequestOp) {
	for i := range n {
		all = append(all, op(i))
	}
	return all
}

// Every bad request gets etcd's code and etcd's text, word for word, because clients match them.
func TestBadRequests(t *testing.T) {
	_, c := single(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	k := []byte("k")
	put(t, c.kv, "there", "v")
	range_ := func(r *pb.RangeRequest) error { _, err := c.kv.Range(ctx, r); return err }
	putting := func(r *pb.PutRequest) error { _, err := c.kv.Put(ctx, r); return err }
	txn := func(r *pb.TxnRequest) error { _, err := c.kv.Txn(ctx, r); return err }
	dup := func(ops ...*pb.RequestOp) error { return txn(&pb.TxnRequest{Success: ops}) }
	_, emptyDelete := c.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{})
	_, notLearner := c.cluster.MemberPromote(ctx, &pb.MemberPromoteRequest{ID: 12345})
	_, notThere := c.cluster.MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 12345})
	_, badURL := c.cluster.MemberAdd(ctx, &pb.MemberAddRequest{PeerURLs: []string{"http://127.0.0.1:1"}, IsLearner: true})
	_, badHeir := c.maintenance.MoveLeader(ctx, &pb.MoveLeaderRequest{TargetID: 12345})
	for _, x := range []struct {
		name      string
		got, want error
	}{
		{"empty key, range", range_(&pb.RangeRequest{}), rpctypes.ErrGRPCEmptyKey},
		{"sort order", range_(&pb.RangeRequest{Key: k, SortOrder: 9}), rpctypes.ErrGRPCInvalidSortOption},
		{"sort target", range_(&pb.RangeRequest{Key: k, SortTarget: 9}), rpctypes.ErrGRPCInvalidSortOption},
		{"future revision", range_(&pb.RangeRequest{Key: k, Revision: 999}), rpctypes.ErrGRPCFutureRev},
		{"empty key, put", putting(&pb.PutRequest{Value: k}), rpctypes.ErrGRPCEmptyKey},
		{"value provided", putting(&pb.PutRequest{Key: k, Value: k, IgnoreValue: true}), rpctypes.ErrGRPCValueProvided},
		{"lease provided", putting(&pb.PutRequest{Key: k, Lease: 1, IgnoreLease: true}), rpctypes.ErrGRPCLeaseProvided},
		{"no value to keep", putting(&pb.PutRequest{Key: k, IgnoreValue: true}), rpctypes.ErrGRPCKeyNotFound},
		{"no such lease", putting(&pb.PutRequest{Key: k, Lease: 7}), rpctypes.ErrGRPCLeaseNotFound},
		{"too large", putting(&pb.PutRequest{Key: k, Value: make([]byte, 3<<19)}), rpctypes.ErrGRPCRequestTooLarge},
		{"empty key, delete", emptyDelete, rpctypes.ErrGRPCEmptyKey},
		{"too many operations", txn(&pb.TxnRequest{Success: many(129, func(i int) *pb.RequestOp { return opPut(string(rune('a'+i)), "v") })}), rpctypes.ErrGRPCTooManyOps},
		{"empty operation", txn(&pb.TxnRequest{Success: []*pb.RequestOp{{}}}), rpctypes.ErrGRPCKeyNotFound},
		{"empty key, compare", txn(&pb.TxnRequest{Compare: []*pb.Compare{{}}}), rpctypes.ErrGRPCEmptyKey},
		{"put twice", dup(opPut("a", "1"), opPut("a", "2")), rpctypes.ErrGRPCDuplicateKey},
		{"put and deleted", dup(opPut("b", "1"), opDelete("a", "c")), rpctypes.ErrGRPCDuplicateKey},
		{"put and deleted to the end", dup(opPut("z", "1"), opDelete("a", "\x00")), rpctypes.ErrGRPCDuplicateKey},
		{"put below", dup(opPut("a", "1"), opTxn([]*pb.RequestOp{opPut("a", "2")}, nil)), rpctypes.ErrGRPCDuplicateKey},
		{"put beside", dup(opTxn(nil, []*pb.RequestOp{opPut("a", "1")}), opTxn([]*pb.RequestOp{opPut("a", "2")}, nil)), rpctypes.ErrGRPCDuplicateKey},
		{"either branch", dup(opTxn([]*pb.RequestOp{opPut("a", "1")}, []*pb.RequestOp{opPut("a", "2")})), nil},
		{"deleted twice", dup(opDelete("a", "c"), opDelete("b", "d")), nil},
		{"promote nobody", notLearner, rpctypes.ErrGRPCMemberNotFound},
		{"remove nobody", notThere, rpctypes.ErrGRPCMemberNotFound},
		{"add nobody", badURL, rpctypes.ErrGRPCMemberBadURLs},
		{"move to nobody", badHeir, rpctypes.ErrGRPCBadLeaderTransferee},
	} {
		if status.Code(x.got) != status.Code(x.want) || status.Convert(x.got).Message() != status.Convert(x.want).Message() {
			t.Errorf("%s: %v, etcd says %v", x.name, x.got, x.want)
		}
	}
	if r, err := c.kv.Range(ctx, &pb.RangeRequest{Key: k}); err != nil || r.Count != 0 {
		t.Errorf("a refused write has left something: %v, %v", r, err)
	}
}

// What belongs to later versions says so, instead of pretending.
func TestUnimplemented(t *testing.T) {
	b, _ := single(t, nil)
	ctx, conn := limited(t), b.dial("a")
	_, auth := pb.NewAuthClient(conn).AuthStatus(ctx, &pb.AuthStatusRequest{})
	_, downgrade := pb.NewMaintenanceClient(conn).Downgrade(ctx, &pb.DowngradeRequest{})
	stream, err := pb.NewMaintenanceClient(conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	_, snapshot := stream.Recv()
	for name, err := range map[string]error{"AuthStatus": auth, "Downgrade": downgrade, "Snapshot": snapshot} {
		if status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Headers, revisions and metadata as etcd has them.
func TestRevisions(t *testing.T) {
	_, c := single(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	empty, err := c.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k")})
	if err != nil || empty.Header.Revision != 1 || empty.Header.ClusterId == 0 || empty.Header.MemberId == 0 || empty.Header.RaftTerm < 2 {
		t.Fatalf("an empty store: %v, %v", empty, err)
	}
	for want := int64(2); want < 5; want++ {
		r, err := c.kv.Put(ctx, &pb.PutRequest{Key: []byte("k"), Value: []byte("v"), PrevKv: true})
		if err != nil || r.Header.Revision != want || (r.PrevKv != nil) != (want > 2) {
			t.Fatalf("put to revision %d: %v, %v", want, r, err)
		}
	}
	nothing, err := c.kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("x")})
	if err != nil || nothing.Deleted != 0 || nothing.Header.Revision != 4 {
		t.Fatalf("a delete of nothing: %v, %v", nothing, err)
	}
	txn, err := c.kv.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{{Key: []byte("k"), Target: pb.Compare_MOD, TargetUnion: &pb.Compare_ModRevision{ModRevision: 4}}},
		Success: []*pb.RequestOp{opPut("k", "w"), {Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("k")}}}},
	})
	if err != nil || !txn.Succeeded || txn.Header.Revision != 5 {
		t.Fatalf("transaction: %v, %v", txn, err)
	}
	own := txn.Responses[1].GetResponseRange().GetKvs()
	if len(own) != 1 || !bytes.Equal(own[0].Value, []byte("w")) || own[0].ModRevision != 5 || own[0].CreateRevision != 2 || own[0].Version != 4 {
		t.Errorf("a transaction reads %v of its own write", own)
	}
	st, err := c.maintenance.Status(ctx, &pb.StatusRequest{})
	if err != nil || st.Leader != st.Header.MemberId || st.Version != apiVersion || st.DbSize == 0 {
		t.Errorf("status: %v, %v", st, err)
	}
}

// Under an operator membership is the operator's: the client API refuses and says what to do.
func TestManagedMembership(t *testing.T) {
	b, _ := single(t, nil)
	b.stop("a")
	cfg := b.configs["a"]
	cfg.Managed = true
	b.start(cfg)
	b.leader()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := pb.NewClusterClient(b.dial("a")).MemberRemove(ctx, &pb.MemberRemoveRequest{ID: 1})
	if status.Code(err) != codes.FailedPrecondition || !bytes.Contains([]byte(err.Error()), []byte("spec.replicas")) {
		t.Errorf("refused with %v", err)
	}
}
