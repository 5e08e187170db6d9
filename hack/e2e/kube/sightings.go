package kube

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
)

// Sightings is the record of everything that the API server was told of RaftClusters: every status in the
// order in which it was written, and every word of the vocabulary.
type Sightings struct {
	mu       sync.Mutex
	words    map[string]int
	statuses map[string][]*api.RaftCluster
	changed  chan struct{} // closed and made anew at every change
	events   []string
}

// NewSightings makes an empty record.
func NewSightings() *Sightings {
	return &Sightings{words: map[string]int{}, statuses: map[string][]*api.RaftCluster{}, changed: make(chan struct{})}
}

// The words of the record, by what they are.
const (
	WordCondition = "condition " // a condition that was True
	WordReason    = "reason "
	WordEvent     = "event "
	WordColumn    = "column "
)

// mapper knows the one kind that has no built-in mapping, so that it can be used before its definition is there.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	m.Add(api.GroupVersion().WithKind(api.Kind), meta.RESTScopeNamespace)
	m.Add(corev1.SchemeGroupVersion.WithKind("Event"), meta.RESTScopeNamespace)
	return m
}

// Watch records until ctx ends. A watch that breaks off, or that is too early for the definition of RaftCluster,
// is begun again.
func (s *Sightings) Watch(ctx context.Context, c client.WithWatch) {
	var both sync.WaitGroup
	both.Go(func() { follow(ctx, c, func() client.ObjectList { return &api.RaftClusterList{} }, s.cluster) })
	both.Go(func() { follow(ctx, c, func() client.ObjectList { return &corev1.EventList{} }, s.event) })
	both.Wait()
}

func follow(ctx context.Context, c client.WithWatch, list func() client.ObjectList, see func(runtime.Object)) {
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for {
		if w, err := c.Watch(ctx, list()); err == nil {
			for e := range w.ResultChan() {
				if e.Type == watch.Added || e.Type == watch.Modified {
					see(e.Object)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
	}
}

func (s *Sightings) cluster(o runtime.Object) {
	c, ok := o.(*api.RaftCluster)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.Namespace + "/" + c.Name
	s.statuses[key] = append(s.statuses[key], c.DeepCopy())
	for _, cond := range c.Status.Conditions {
		s.words[WordReason+cond.Reason]++
		if cond.Status == metav1.ConditionTrue {
			s.words[WordCondition+cond.Type]++
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Sightings) event(o runtime.Object) {
	e, ok := o.(*corev1.Event)
	if !ok || e.InvolvedObject.Kind != api.Kind {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words[WordEvent+e.Reason]++
	s.events = append(s.events, fmt.Sprintf("%s/%s %s: %s", e.InvolvedObject.Namespace, e.InvolvedObject.Name, e.Reason, e.Message))
}

// Note adds a word that was seen by other means.
func (s *Sightings) Note(word string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words[word]++
}

// Words are all words seen, sorted.
func (s *Sightings) Words() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.words))
}

// Events are the events seen since the n-th, one line each.
func (s *Sightings) Events(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events[min(n, len(s.events)):])
}

// Of are the versions of one RaftCluster since the n-th.
func (s *Sightings) Of(namespace, name string, n int) []*api.RaftCluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.statuses[namespace+"/"+name]
	return slices.Clone(all[min(n, len(all)):])
}

// Changed is closed when a RaftCluster changes next.
func (s *Sightings) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Brief renders a RaftCluster in one line.
func Brief(c *api.RaftCluster) string {
	line := fmt.Sprintf("generation %d/%d, %d Pods, %d ready, %d voters, %d learners, leader %q", c.Status.ObservedGeneration, c.Generation,
		c.Status.Replicas, c.Status.ReadyReplicas, c.Status.VotingMembers, c.Status.Learners, c.Status.Leader)
	if op := c.Status.Operation; op != nil {
		line += fmt.Sprintf(", %s: %s %s", op.Type, op.Step, op.Member)
	}
	for _, cond := range c.Status.Conditions {
		if cond.Status == metav1.ConditionTrue {
			line += ", " + cond.Type
		}
	}
	if r := meta.FindStatusCondition(c.Status.Conditions, api.ConditionReady); r != nil {
		line += fmt.Sprintf(" (%s: %s)", r.Reason, r.Message)
	}
	return line
}
