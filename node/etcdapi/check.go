package etcdapi

import (
	"bytes"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func checkRange(r *pb.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if _, ok := pb.RangeRequest_SortOrder_name[int32(r.GetSortOrder())]; !ok {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	if _, ok := pb.RangeRequest_SortTarget_name[int32(r.GetSortTarget())]; !ok {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.GetIgnoreValue() && len(r.GetValue()) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.GetIgnoreLease() && r.GetLease() != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDelete(r *pb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn checks a transaction with all that is nested in it. left is how many operations it may hold; a
// nested one may hold what its parent leaves, as in etcd.
func checkTxn(r *pb.TxnRequest, left int) error {
	ops := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if ops > left {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := checkOp(op, left-ops); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, left int) error {
	switch x := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(x.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(x.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDelete(x.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxn(x.RequestTxn, left)
	}
	return rpctypes.ErrGRPCKeyNotFound // an empty operation: etcd's answer
}

// checkDuplicates refuses a transaction that would write a key twice in one revision. The two branches
// exclude each other.
func checkDuplicates(r *pb.TxnRequest) error {
	for _, branch := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		if _, err := writesOf(branch); err != nil {
			return err
		}
	}
	return nil
}

// writes is what a list of operations may write: single keys, and ranges that it deletes.
type writes struct {
	puts    map[string]bool
	deletes []*pb.DeleteRangeRequest
}

// writesOf collects the writes of one branch and refuses those that collide.
func writesOf(ops []*pb.RequestOp) (writes, error) {
	own := writes{puts: map[string]bool{}}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			own.deletes = append(own.deletes, d)
		}
	}
	for _, op := range ops {
		if t := op.GetRequestTxn(); t != nil {
			if err := own.nest(t); err != nil {
				return own, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if own.puts[string(p.GetKey())] || own.deleted(p.GetKey()) {
				return own, rpctypes.ErrGRPCDuplicateKey
			}
			own.puts[string(p.GetKey())] = true
		}
	}
	return own, nil
}

// nest adds what a nested transaction may write: either branch collides with what is there, but not with the
// other branch.
func (w *writes) nest(t *pb.TxnRequest) error {
	then, err := writesOf(t.GetSuccess())
	if err != nil {
		return err
	}
	otherwise, err := writesOf(t.GetFailure())
	if err != nil {
		return err
	}
	for _, branch := range []writes{then, otherwise} {
		for key := range branch.puts {
			if w.puts[key] || w.deleted([]byte(key)) {
				return rpctypes.ErrGRPCDuplicateKey
			}
		}
		for key := range w.puts {
			if branch.deleted([]byte(key)) {
				return rpctypes.ErrGRPCDuplicateKey
			}
		}
	}
	for _, branch := range []writes{then, otherwise} {
		for key := range branch.puts {
			w.puts[key] = true
		}
		w.deletes = append(w.deletes, branch.deletes...)
	}
	return nil
}

func (w *writes) deleted(key []byte) bool {
	for _, d := range w.deletes {
		if within(key, d.GetKey(), d.GetRangeEnd()) {
			return true
		}
	}
	return false
}

// within reports whether key lies in [lo, hi) as etcd reads it: no hi is lo alone, "\0" is everything from lo on.
func within(key, lo, hi []byte) bool {
	switch {
	case len(hi) == 0:
		return bytes.Equal(key, lo)
	case len(hi) == 1 && hi[0] == 0:
		return bytes.Compare(key, lo) >= 0
	}
	return bytes.Compare(key, lo) >= 0 && bytes.Compare(key, hi) < 0
}
