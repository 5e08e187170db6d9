package main

import (
	"testing"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// TestAudience: who hears of a key, and which key an event is of.
func TestAudience(t *testing.T) {
	each := audience{watchers: 6, keys: 3, posts: make([]post, 3)}
	all := audience{watchers: 6, keys: 3, prefix: true, posts: make([]post, 3)}
	if each.hearers() != 2 || all.hearers() != 6 {
		t.Errorf("%d and %d hear, not 2 and 6", each.hearers(), all.hearers())
	}
	if each.key(1) != each.key(4) || each.key(1) == each.key(2) {
		t.Errorf("watchers 1, 2, 4 watch %s, %s, %s", each.key(1), each.key(2), each.key(4))
	}
	value := []byte("12345678 and more")
	if p := each.find(&mvccpb.KeyValue{Key: []byte(each.key(2)), Value: value}); p != &each.posts[2] {
		t.Error("the event of key 2 is not found")
	}
	for _, kv := range []*mvccpb.KeyValue{
		{Key: []byte("watched/x"), Value: value}, {Key: []byte("watched/000003"), Value: value},
		{Key: []byte(each.key(2)), Value: value[:7]}, {Key: []byte("watched/-1"), Value: value},
	} {
		if p := each.find(kv); p != nil {
			t.Errorf("%v was taken for an event", kv)
		}
	}
}
