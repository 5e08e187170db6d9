package controllers

import (
	"context"
	"errors"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/act"
	"raftsman.dev/controllers/observe"
	"raftsman.dev/controllers/plan"
)

// again is how soon to look again while something is in flight; soon, after an act of one's own: by then the
// cache has usually seen it.
const (
	again = time.Second
	soon  = 200 * time.Millisecond
)

// Reconciler brings RaftClusters to what is wanted, one step at a time.
type Reconciler struct {
	Observer observe.Observer
	Actor    act.Actor
	// Objects writes status.
	Objects client.Client
	Events  events.EventRecorder
	// Steps is told of every step that is planned.
	Steps func(plan.Step)
	// Poll is how often members are asked how they are while nothing is in flight.
	Poll time.Duration
	Now  func() time.Time
}

// Reconcile = observe, plan, act, report. An operation is announced in status before it is begun; all else is
// written once, last, and only when it has changed.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	sight, err := r.Observer.Look(ctx, request.NamespacedName)
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	step := plan.Next(sight.Want, sight.Seen, r.Now())
	r.Steps(step)
	ctx = logr.NewContext(ctx, logr.FromContextOrDiscard(ctx).WithValues("step", step.String()))

	if err := r.announce(ctx, sight, step); err != nil {
		return r.retry(ctx, err)
	}
	err = r.Actor.Perform(ctx, sight.Cluster, step)
	if err == nil {
		r.tell(ctx, sight.Cluster, step)
	}
	if errors.Is(err, act.ErrInvalid) {
		step.Stalled, step.Why = api.ReasonInvalidSpec, err.Error()
	}
	// A latch has just been written with its status, on facts that are old now.
	if step.Kind != plan.Latch {
		err = errors.Join(err, r.report(ctx, sight, step))
	}
	if err != nil {
		return r.retry(ctx, err)
	}
	return ctrl.Result{RequeueAfter: r.pause(step)}, nil
}

// pause is how long the next look may wait; a change of any object comes sooner by itself.
func (r *Reconciler) pause(step plan.Step) time.Duration {
	switch step.Kind {
	case plan.Rest:
		return r.Poll
	case plan.Wait:
		return again
	}
	return soon
}

// retry looks again soon after what passes, slowly after what only a person can mend, and with the queue's
// growing delays after anything else.
func (r *Reconciler) retry(ctx context.Context, err error) (ctrl.Result, error) {
	log := logr.FromContextOrDiscard(ctx)
	switch {
	case errors.Is(err, act.ErrInvalid):
		log.Error(err, "the spec cannot be carried out")
		return ctrl.Result{RequeueAfter: r.Poll}, nil
	case errors.Is(err, act.ErrMoved), errors.Is(err, act.ErrLater), apierrors.IsConflict(err), apierrors.IsNotFound(err):
		log.V(1).Info("looking again", "because", err.Error())
		return ctrl.Result{RequeueAfter: soon}, nil
	}
	return ctrl.Result{}, err
}
