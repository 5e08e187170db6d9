// Package act performs exactly one step of the plan. It is the one place in the operator that can disrupt a
// member: what destroys something is checked against the API server itself right before, and is sent with
// the UID of the very object that was judged.
package act

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/observe"
	"raftsman.dev/controllers/plan"
	"raftsman.dev/controllers/resource"
	"raftsman.dev/node/admin"
)

// Owner is the field owner of everything that is applied.
const Owner = "raftsman-operator"

// patience is how long a member may take over a request.
const patience = 5 * time.Second

var (
	// ErrMoved says that the world is not what was observed any more: look again.
	ErrMoved = errors.New("the world has moved since it was observed")
	// ErrLater says that the step was refused for now by something that passes: look again.
	ErrLater = errors.New("refused for now")
	// ErrInvalid says that the API server refuses what the spec asks for: a person must change the spec.
	ErrInvalid = errors.New("the spec cannot be carried out")
)

// Actor performs steps.
type Actor struct {
	// Objects writes; Live reads the API server itself, never a cache.
	Objects client.Client
	Live    client.Reader
	// HTTP carries the requests to members.
	HTTP     *http.Client
	Defaults resource.Defaults
	// NewClusterID draws 64 random bits as 16 hex digits.
	NewClusterID func() (string, error)
}

// Perform does the one thing that a step asks for. c is the RaftCluster as it was observed, with the status
// that belongs to the step; a latch writes that status, and c follows what was written.
func (a Actor) Perform(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	if !step.Kind.Acts() {
		return nil
	}
	if err := a.current(ctx, c); err != nil {
		return err
	}
	switch step.Kind {
	case plan.Apply:
		if err := a.unscaled(ctx, c, step); err != nil {
			return err
		}
		return a.apply(ctx, c, resource.Sizes{Replicas: step.Replicas, Guard: step.Guard, Storage: step.Storage})
	case plan.Scale:
		if err := a.unscaled(ctx, c, step); err != nil {
			return err
		}
		return a.resize(ctx, c, "StatefulSet", resource.Sizes{Replicas: step.Replicas, Storage: step.Storage})
	case plan.Protect:
		return a.resize(ctx, c, "PodDisruptionBudget", resource.Sizes{Guard: step.Guard})
	case plan.Latch:
		return a.latch(ctx, c, step.Latch)
	case plan.Form, plan.Change, plan.Transfer, plan.Open:
		return a.ask(ctx, c, step)
	case plan.Annotate:
		return a.annotate(ctx, c, step)
	case plan.Evict, plan.Remove:
		return a.remove(ctx, c, step)
	case plan.Drop:
		return a.drop(ctx, c, step)
	case plan.Enlarge:
		return a.enlarge(ctx, c, step)
	case plan.Orphan:
		return a.orphan(ctx, c, step)
	}
	return nil
}

// current refuses to go on when the RaftCluster has changed since it was observed: a stale spec must remove no
// member, and an operator that has slept must begin nothing.
func (a Actor) current(ctx context.Context, c *api.RaftCluster) error {
	live := &api.RaftCluster{}
	if err := a.Live.Get(ctx, client.ObjectKeyFromObject(c), live); err != nil {
		if apierrors.IsNotFound(err) {
			return fmt.Errorf("%w: the RaftCluster is gone", ErrMoved)
		}
		return fmt.Errorf("read the RaftCluster before a step: %w", err)
	}
	if live.UID != c.UID || live.ResourceVersion != c.ResourceVersion || live.DeletionTimestamp != nil {
		return fmt.Errorf("%w: the RaftCluster is at version %s, not %s", ErrMoved, live.ResourceVersion, c.ResourceVersion)
	}
	return nil
}

// latch changes what status remembers, in one write that fails if anybody has written since.
func (a Actor) latch(ctx context.Context, c *api.RaftCluster, l *plan.LatchChange) error {
	next := c.DeepCopy()
	s := &next.Status
	switch {
	case l.Found != nil:
		if s.ClusterID != "" || meta.IsStatusConditionTrue(s.Conditions, api.ConditionInitialized) {
			return fmt.Errorf("%w: a cluster has been founded already", ErrMoved)
		}
		id, err := a.NewClusterID()
		if err != nil {
			return fmt.Errorf("draw a cluster ID: %w", err)
		}
		s.ClusterID, s.Founder = id, *l.Found
	case l.Adopt != nil:
		s.ClusterID = *l.Adopt
	case l.Abandon:
		s.ClusterID, s.Founder = "", ""
	}
	if l.Hibernated != nil {
		s.HibernatedReplicas = *l.Hibernated
	}
	if l.Initialize {
		meta.SetStatusCondition(&s.Conditions, metav1.Condition{
			Type: api.ConditionInitialized, Status: metav1.ConditionTrue, Reason: api.ReasonQuorumHealthy,
			Message: "the wanted number of voters has been reached", ObservedGeneration: c.Generation,
		})
	}
	if err := a.Objects.Status().Update(ctx, next); err != nil {
		return moved("latch into status", err)
	}
	*c = *next
	return nil
}

// moved marks a conflict, and an object that is gone, as a reason to look again.
func moved(what string, err error) error {
	if err != nil && (apierrors.IsConflict(err) || apierrors.IsNotFound(err)) {
		return fmt.Errorf("%w: %s: %w", ErrMoved, what, err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// ask sends a request to the member that the step names.
func (a Actor) ask(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	members, base, id := admin.Client{HTTP: a.HTTP}, observe.AdminURL(step.Pod.IP), c.Status.ClusterID
	var err error
	switch step.Kind {
	case plan.Form:
		err = members.Form(ctx, base, admin.FormRequest{ClusterID: id, Founder: c.Status.Founder})
	case plan.Change:
		err = members.Change(ctx, base, request(id, step.Change))
	case plan.Transfer:
		err = members.Transfer(ctx, base, admin.TransferRequest{ClusterID: id, To: step.To})
	case plan.Open:
		err = members.Open(ctx, base, admin.OpenRequest{ClusterID: id})
	}
	if err == nil {
		return nil
	}
	what := fmt.Sprintf("ask %s for %s", step.Pod.Name, step.Kind)
	var refusal *admin.Error
	if errors.As(err, &refusal) && (refusal.Reason == admin.ReasonInvalid || refusal.Reason == admin.ReasonOtherCluster) {
		return fmt.Errorf("%s: %w", what, err)
	}
	// Anything else is settled by looking again: a refusal names a state that passes, and a lost answer may
	// have been a success.
	return fmt.Errorf("%w: %s: %w", ErrLater, what, err)
}

func request(cluster string, change *plan.MembershipChange) admin.ChangeRequest {
	r := admin.ChangeRequest{ClusterID: cluster, Index: change.Index, Promote: change.Promote, Remove: change.Remove}
	for _, m := range change.Add {
		r.AddLearners = append(r.AddLearners, admin.Member{
			ID: m.ID, Name: m.Name, PeerAddress: m.PeerAddress, ClientURLs: []string{m.ClientURL}, Seat: admin.SeatLearner,
		})
	}
	return r
}

// annotate writes on a claim whose data lies on it, for this very claim.
func (a Actor) annotate(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: step.Claim.Name}}
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q,%q:%q}}}`,
		step.Claim.UID, api.AnnotationMember, step.Pod.Report.Member, api.AnnotationClaim, step.Claim.UID)
	err := a.Objects.Patch(ctx, claim, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(Owner))
	if apierrors.IsInvalid(err) {
		return fmt.Errorf("%w: claim %s is another one: %w", ErrMoved, step.Claim.Name, err) // a UID cannot be changed
	}
	return moved("annotate claim "+step.Claim.Name, err)
}

// remove evicts or deletes the very Pod that was judged.
func (a Actor) remove(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	pod := &corev1.Pod{}
	if err := a.Live.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: step.Pod.Name}, pod); err != nil {
		return moved("read Pod "+step.Pod.Name, err)
	}
	if err := judged(pod, step.Pod); err != nil {
		return err
	}
	only := &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(step.Pod.UID)}
	if step.Kind == plan.Remove {
		err := a.Objects.Delete(ctx, pod, client.Preconditions{UID: only.Preconditions.UID})
		return moved("delete Pod "+step.Pod.Name, err)
	}
	eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, DeleteOptions: only}
	err := a.Objects.SubResource("eviction").Create(ctx, pod, eviction)
	if apierrors.IsTooManyRequests(err) {
		return fmt.Errorf("%w: evict Pod %s: %w", ErrLater, step.Pod.Name, err)
	}
	return moved("evict Pod "+step.Pod.Name, err)
}

// judged refuses a Pod that is not the one whose member was asked. Its address must be the same too: one that has gone
// to a Pod of the same name elsewhere would have answered for this one.
func judged(pod *corev1.Pod, as plan.Pod) error {
	if string(pod.UID) != as.UID || pod.Status.PodIP != as.IP || pod.DeletionTimestamp != nil {
		return fmt.Errorf("%w: Pod %s is another one, elsewhere or on its way out", ErrMoved, as.Name)
	}
	return nil
}

// drop deletes the very claim that was judged. Unless the step names the Pod whose damaged data it is, the
// Pod must be gone and the StatefulSet must not want it back.
func (a Actor) drop(ctx context.Context, c *api.RaftCluster, step plan.Step) error {
	claim := &corev1.PersistentVolumeClaim{}
	if err := a.Live.Get(ctx, types.NamespacedName{Namespace: c.Namespace, Name: step.Claim.Name}, claim); err != nil {
		return moved("read claim "+step.Claim.Name, err)
	}
	if string(claim.UID) != step.Claim.UID || claim.DeletionTimestamp != nil {
		return fmt.Errorf("%w: claim %s is another one or on its way out", ErrMoved, step.Claim.Name)
	}
	if claim.Annotations[api.AnnotationClaim] == step.Claim.UID && claim.Annotations[api.AnnotationMember] != step.Claim.Member {
		return fmt.Errorf("%w: claim %s holds the data of another member now", ErrMoved, step.Claim.Name)
	}
	if err := a.idle(ctx, c, step); err != nil {
		return err
	}
	uid := claim.UID
	return moved("delete claim "+step.Claim.Name, a.Objects.Delete(ctx, claim, client.Preconditions{UID: &uid}))
}
