// Package observe gathers the facts: Kubernetes objects from the cache, and every member's own report from
// the member itself. An error of a member is a fact about that member, never an error of the observation.
package observe

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/plan"
	"raftsman.dev/controllers/resource"
	"raftsman.dev/node/admin"
)

// patience is how long one member may take over its report.
const patience = 2 * time.Second

// Observer looks at RaftClusters.
type Observer struct {
	// Objects reads Kubernetes; a cache will do, because acts check what matters again.
	Objects client.Reader
	// Rehearse only ever has the API server say what it would make of a write.
	Rehearse client.Writer
	// HTTP carries the questions to members.
	HTTP     *http.Client
	Defaults resource.Defaults
}

// Sight is one RaftCluster as it was found, what is wanted of it, and what was seen. Where the wanted image is refused
// (plan.Refusal), Cluster names the one that the StatefulSet has: everything else in the spec takes effect.
type Sight struct {
	Cluster *api.RaftCluster
	Want    plan.Spec
	Seen    plan.Observation
	image   string // of the StatefulSet's template
}

// AdminURL is where the member in a Pod answers the operator.
func AdminURL(podIP string) string {
	return "http://" + net.JoinHostPort(podIP, strconv.Itoa(resource.AdminPort))
}

// Look gathers all facts about one RaftCluster. The error is the API's: not found, or unreachable.
func (o Observer) Look(ctx context.Context, key types.NamespacedName) (*Sight, error) {
	c := &api.RaftCluster{}
	if err := o.Objects.Get(ctx, key, c); err != nil {
		return nil, fmt.Errorf("read RaftCluster %s: %w", key, err)
	}
	s := &Sight{Cluster: c.DeepCopy(), Want: wanted(c)}
	s.Want.Version = resource.Tag(resource.Image(c, o.Defaults))
	s.Seen.Latched = latched(c)
	steps := []func(context.Context, *Sight) error{o.set, o.pods, o.claims, o.objects}
	for _, step := range steps {
		if err := step(ctx, s); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func wanted(c *api.RaftCluster) plan.Spec {
	deadline := plan.DefaultDeadline
	if s := c.Spec.ProgressDeadlineSeconds; s != nil {
		deadline = time.Duration(*s) * time.Second
	}
	return plan.Spec{
		Deadline:    deadline,
		Name:        c.Name,
		Replicas:    c.Wanted(),
		Paused:      c.Spec.Paused,
		Deleting:    c.DeletionTimestamp != nil,
		KeepVolumes: c.Spec.Storage.Retention.WhenScaled == api.Retain,
		Storage:     c.Spec.Storage.Size,
		Replace:     c.Annotations[api.AnnotationReplace],
	}
}

func latched(c *api.RaftCluster) plan.Latched {
	return plan.Latched{
		ClusterID:   c.Status.ClusterID,
		Founder:     c.Status.Founder,
		Initialized: meta.IsStatusConditionTrue(c.Status.Conditions, api.ConditionInitialized),
		Hibernated:  c.Status.HibernatedReplicas,
		Operation:   c.Status.Operation,
	}
}

// set reads the StatefulSet.
func (o Observer) set(ctx context.Context, s *Sight) error {
	set := &appsv1.StatefulSet{}
	err := o.Objects.Get(ctx, client.ObjectKeyFromObject(s.Cluster), set)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read StatefulSet %s: %w", client.ObjectKeyFromObject(s.Cluster), err)
	}
	seen := &plan.Set{Replicas: 1, UID: string(set.UID), Storage: VolumeSize(set), Leaving: set.DeletionTimestamp != nil}
	if set.Spec.Replicas != nil {
		seen.Replicas = *set.Spec.Replicas
	}
	// Until the controller has looked at the newest template, its revision is the one before.
	if set.Status.ObservedGeneration >= set.Generation {
		seen.Revision = set.Status.UpdateRevision
	}
	if containers := set.Spec.Template.Spec.Containers; len(containers) > 0 {
		s.image = containers[0].Image
		seen.Version = resource.Tag(s.image)
	}
	s.Seen.Set = seen
	return nil
}

// objects compares what there is with what the spec gives at the present sizes.
func (o Observer) objects(ctx context.Context, s *Sight) error {
	sizes := resource.Sizes{}
	if set := s.Seen.Set; set != nil {
		sizes.Replicas, sizes.Storage = set.Replicas, set.Storage
		if s.image != "" && plan.Refusal(s.Want.Version, s.Seen) != "" {
			s.Cluster.Spec.Image = s.image
		}
	}
	budget := &policyv1.PodDisruptionBudget{}
	err := o.Objects.Get(ctx, client.ObjectKeyFromObject(s.Cluster), budget)
	switch {
	case err == nil:
		if budget.Spec.MinAvailable != nil {
			sizes.Guard = int32(budget.Spec.MinAvailable.IntValue())
			s.Seen.Guard = &sizes.Guard
		}
	case !apierrors.IsNotFound(err):
		return fmt.Errorf("read PodDisruptionBudget %s: %w", client.ObjectKeyFromObject(s.Cluster), err)
	}
	return o.outdated(ctx, s, sizes)
}

func (o Observer) pods(ctx context.Context, s *Sight) error {
	list := &corev1.PodList{}
	if err := o.Objects.List(ctx, list, mine(s.Cluster)...); err != nil {
		return fmt.Errorf("list Pods of RaftCluster %s: %w", client.ObjectKeyFromObject(s.Cluster), err)
	}
	var found []corev1.Pod
	for _, p := range list.Items {
		if _, ok := s.Want.Ordinal(p.Name); ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b corev1.Pod) int { return byOrdinal(s.Want, a.Name, b.Name) })
	s.Seen.Pods = make([]plan.Pod, len(found))
	var asked sync.WaitGroup
	for i := range found {
		asked.Go(func() { s.Seen.Pods[i] = o.pod(ctx, s.Cluster, &found[i]) })
	}
	asked.Wait()
	return nil
}

func byOrdinal(want plan.Spec, a, b string) int {
	x, _ := want.Ordinal(a)
	y, _ := want.Ordinal(b)
	return cmp.Compare(x, y)
}

// pod is one Pod with its member's report.
func (o Observer) pod(ctx context.Context, c *api.RaftCluster, p *corev1.Pod) plan.Pod {
	seen := plan.Pod{
		Name: p.Name, UID: string(p.UID), IP: p.Status.PodIP,
		Revision:    p.Labels[appsv1.ControllerRevisionHashLabelKey],
		Leaving:     p.DeletionTimestamp != nil,
		PeerAddress: resource.PeerAddress(c, p.Name),
		ClientURL:   resource.ClientURL(c, p.Name),
	}
	if len(p.Spec.Containers) > 0 {
		seen.Version = resource.Tag(p.Spec.Containers[0].Image)
	}
	for _, cond := range p.Status.Conditions {
		seen.Ready = seen.Ready || cond.Type == corev1.PodReady && cond.Status == corev1.ConditionTrue
	}
	for _, container := range p.Status.ContainerStatuses {
		seen.Running = seen.Running || container.State.Running != nil
	}
	if p.Status.PodIP == "" || p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		seen.Silence = waiting(p)
		return seen
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	report, err := admin.Client{HTTP: o.HTTP}.Status(ctx, AdminURL(p.Status.PodIP), admin.StatusOptions{Quorum: true})
	switch {
	case err != nil:
		seen.Silence = waiting(p)
	case report.Name != p.Name:
		// The cache may hold an address that has been given to another Pod since.
		seen.Silence = fmt.Sprintf("%s answers at its address", report.Name)
	default:
		seen.Report = translate(&report)
	}
	return seen
}

// waiting is why a Pod does not answer, in words that stay the same while nothing changes.
func waiting(p *corev1.Pod) string {
	for _, c := range p.Status.ContainerStatuses {
		if w := c.State.Waiting; w != nil && w.Reason != "" {
			return w.Reason
		}
		if c.State.Terminated != nil {
			return "its container has ended"
		}
	}
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse {
			return cond.Reason
		}
	}
	if p.Status.PodIP == "" {
		return "it has not started yet"
	}
	return "its admin port is silent"
}

func translate(a *admin.Status) *plan.Report {
	r := &plan.Report{
		Member: a.MemberID, Cluster: a.ClusterID, Version: a.Version, State: plan.State(a.State), Problem: a.Problem,
		Leads: a.Role == admin.RoleLeader, Term: a.Term, Ready: a.Ready, Open: a.Open, Quorate: a.Quorate,
		Boot: a.Boot, Last: a.Last, Commit: a.Commit, NoSpace: a.NoSpace,
	}
	if d := a.Disk; d != nil {
		r.Disk = &plan.Disk{FreeBytes: d.FreeBytes, LowBytes: d.LowBytes, Low: d.Low, Out: d.Out}
	}
	if a.Membership != nil {
		r.Membership = &plan.Membership{Index: a.Membership.Index, Committed: a.Membership.Committed, Joint: a.Membership.Joint}
		for _, e := range a.Membership.Members {
			r.Membership.Members = append(r.Membership.Members, plan.Member{
				ID: e.ID, Name: e.Name,
				Voter:    e.Seat == admin.SeatVoter || e.Seat == admin.SeatIncoming,
				Incoming: e.Seat == admin.SeatIncoming,
				Outgoing: e.Seat == admin.SeatOutgoing,
			})
		}
	}
	if r.Leads {
		r.Peers = map[string]plan.Peer{}
		for _, p := range a.Progress {
			r.Peers[p.ID] = plan.Peer{Active: p.Active, Caught: p.Caught, Streaming: p.Mode == "stream", Far: p.Mode == "snapshot"}
		}
	}
	return r
}

func (o Observer) claims(ctx context.Context, s *Sight) error {
	list := &corev1.PersistentVolumeClaimList{}
	if err := o.Objects.List(ctx, list, mine(s.Cluster)...); err != nil {
		return fmt.Errorf("list claims of RaftCluster %s: %w", client.ObjectKeyFromObject(s.Cluster), err)
	}
	prefix := resource.ClaimName("")
	for _, c := range list.Items {
		pod := c.Name[min(len(prefix), len(c.Name)):]
		if _, ok := s.Want.Ordinal(pod); !ok || c.Name != resource.ClaimName(pod) {
			continue
		}
		claim := plan.Claim{Name: c.Name, UID: string(c.UID), Pod: pod, Leaving: c.DeletionTimestamp != nil}
		if c.Annotations[api.AnnotationClaim] == string(c.UID) {
			claim.Member = c.Annotations[api.AnnotationMember]
		}
		o.sizes(ctx, s, &c, &claim)
		s.Seen.Claims = append(s.Seen.Claims, claim)
	}
	slices.SortFunc(s.Seen.Claims, func(a, b plan.Claim) int { return byOrdinal(s.Want, a.Pod, b.Pod) })
	return nil
}

// mine selects what belongs to a RaftCluster.
func mine(c *api.RaftCluster) []client.ListOption {
	return []client.ListOption{client.InNamespace(c.Namespace), client.MatchingLabelsSelector{Selector: labels.SelectorFromSet(resource.Selector(c))}}
}
