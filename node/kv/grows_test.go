package kv

import "testing"

func TestGrows(t *testing.T) {
	put, del := Op{Put: &PutRequest{Key: []byte("k")}}, Op{Delete: &DeleteRequest{Key: []byte("k")}}
	look := Op{Range: &RangeRequest{Key: []byte("k")}}
	nested := func(t Txn) Op { return Op{Txn: &t} }
	for _, c := range []struct {
		what  string
		txn   Txn
		grows bool
	}{
		{"nothing", Txn{}, false},
		{"a put", Txn{Success: []Op{look, put}}, true},
		{"a put otherwise", Txn{Success: []Op{del}, Failure: []Op{put}}, true},
		{"a put deep inside", Txn{Success: []Op{nested(Txn{Failure: []Op{nested(Txn{Success: []Op{put}})}})}}, true},
		{"deletes", Txn{Success: []Op{del, nested(Txn{Success: []Op{del}})}, Failure: []Op{look}}, false},
	} {
		if got := (&Command{Txn: c.txn}).Grows(); got != c.grows {
			t.Errorf("%s: grows %v, want %v", c.what, got, c.grows)
		}
	}
	if (&Command{Open: true, Txn: Txn{Success: []Op{put}}}).Grows() {
		t.Error("opening the cluster grows nothing: its transaction is ignored")
	}
}
