package kube

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	api "raftsman.dev/api/v1alpha1"
)

func TestUntil(t *testing.T) {
	asked := 0
	err := Until(t.Context(), time.Minute, io.Discard, "the third time", func(context.Context) error {
		if asked++; asked < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || asked != 3 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	err = Until(t.Context(), 300*time.Millisecond, io.Discard, "never so", func(ctx context.Context) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return errors.New("the reason")
	})
	if err == nil || !strings.Contains(err.Error(), "the reason") || !strings.Contains(err.Error(), "never so") {
		t.Errorf("the reason is not given: %v", err)
	}
}

func TestSightings(t *testing.T) {
	s := NewSightings()
	changed := s.Changed()
	for _, status := range []metav1.ConditionStatus{metav1.ConditionFalse, metav1.ConditionTrue} {
		c := &api.RaftCluster{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "c"}}
		c.Status.Conditions = []metav1.Condition{{Type: api.ConditionReady, Status: status, Reason: "Because" + string(status)}}
		s.cluster(c)
	}
	select {
	case <-changed:
	default:
		t.Error("nobody is told of a change")
	}
	s.event(&corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: api.Kind}, Reason: "ScaleUp"})
	s.event(&corev1.Event{InvolvedObject: corev1.ObjectReference{Kind: "Pod"}, Reason: "Killing"})
	s.Note(WordColumn + "READY")
	want := []string{WordColumn + "READY", WordCondition + "Ready", WordEvent + "ScaleUp", WordReason + "BecauseFalse", WordReason + "BecauseTrue"}
	if got := s.Words(); !slices.Equal(got, want) {
		t.Errorf("words: %q", got)
	}
	if all := s.Of("n", "c", 0); len(all) != 2 || all[0].Status.Conditions[0].Status != metav1.ConditionFalse {
		t.Errorf("versions: %v", all)
	}
	if len(s.Of("n", "c", 1)) != 1 || len(s.Of("n", "other", 5)) != 0 {
		t.Error("versions are not counted from where they are asked for")
	}
	if b := Brief(s.Of("n", "c", 1)[0]); !strings.Contains(b, "BecauseTrue") {
		t.Errorf("brief: %s", b)
	}
}

func TestLeaderOf(t *testing.T) {
	for text, want := range map[string]string{
		"raftsman-0  follower, process 1, http://a, log b\nraftsman-1  leader, process 2, http://a, log b": "1",
		"raftsman-0  leader, not ready, process 1, http://a, log b":                                        "0",
		"raftsman-0  follower, process 1, http://a, log leader\nraftsman-1  stopped":                       "",
		"": "",
	} {
		if got, _ := leaderOf(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
