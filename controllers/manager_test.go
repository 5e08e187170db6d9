package controllers

import (
	"strings"
	"testing"
	"time"
)

// TestOptionsAreRefusedWithTheRemedy names for each mistake the flag that mends it.
func TestOptionsAreRefusedWithTheRemedy(t *testing.T) {
	good := Options{MemberImage: "i", Concurrency: 1, Poll: time.Second}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	for says, spoil := range map[string]func(*Options){
		"--member-image":  func(o *Options) { o.MemberImage = "" },
		"--concurrency":   func(o *Options) { o.Concurrency = 0 },
		"--poll-interval": func(o *Options) { o.Poll = time.Millisecond },
		"--namespace":     func(o *Options) { o.LeaderElect = true },
	} {
		o := good
		spoil(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v does not name %s", err, says)
		}
	}
}

func TestClusterIDs(t *testing.T) {
	drawn := map[string]bool{}
	for range 100 {
		id, err := newClusterID()
		if err != nil || len(id) != 16 || drawn[id] || strings.Trim(id, "0") == "" {
			t.Fatalf("drew %q, %v, after %d others", id, err, len(drawn))
		}
		drawn[id] = true
	}
}
