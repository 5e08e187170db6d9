package controllers

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/act"
	"raftsman.dev/controllers/observe"
	"raftsman.dev/controllers/resource"
)

// Options are the operator's settings.
type Options struct {
	// MemberImage is the image of members whose RaftCluster names none.
	MemberImage string
	// LeaderElect lets only one of several operators work; LeaseName and Namespace say by which lease.
	LeaderElect bool
	LeaseName   string
	Namespace   string
	// HealthAddress serves /healthz and /readyz, MetricsAddress /metrics; "0" serves none.
	HealthAddress, MetricsAddress string
	// WatchNamespaces limits the operator; empty means all namespaces.
	WatchNamespaces []string
	// Concurrency is how many RaftClusters are looked after at the same moment; at least 1.
	Concurrency int
	// Poll is how often members at rest are asked how they are.
	Poll time.Duration
	Log  logr.Logger
}

// Validate refuses settings that cannot work.
func (o Options) Validate() error {
	switch {
	case o.MemberImage == "":
		return errors.New("no image for the members: set --member-image or RAFTSMAN_MEMBER_IMAGE")
	case o.Concurrency < 1:
		return fmt.Errorf("--concurrency is %d: it must be at least 1", o.Concurrency)
	case o.Poll < time.Second:
		return fmt.Errorf("--poll-interval is %s: it must be at least 1s", o.Poll)
	case o.LeaderElect && o.Namespace == "":
		return errors.New("--leader-elect needs a namespace for its lease: set --namespace or POD_NAMESPACE")
	}
	return nil
}

// NewManager makes the operator, ready to be started.
func NewManager(config *rest.Config, o Options) (manager.Manager, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(clientscheme.AddToScheme(scheme), api.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("register types: %w", err)
	}
	m, err := ctrl.NewManager(config, manager.Options{
		Scheme:                  scheme,
		Logger:                  o.Log,
		Cache:                   cached(o.WatchNamespaces),
		LeaderElection:          o.LeaderElect,
		LeaderElectionID:        o.LeaseName,
		LeaderElectionNamespace: o.Namespace,
		// The process ends right after the manager, so nobody else works while this one still might.
		LeaderElectionReleaseOnCancel: true,
		HealthProbeBindAddress:        o.HealthAddress,
		Metrics:                       metricsserver.Options{BindAddress: o.MetricsAddress},
	})
	if err != nil {
		return nil, fmt.Errorf("make the manager: %w", err)
	}
	if err := setUp(m, o); err != nil {
		return nil, err
	}
	if err := m.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return nil, fmt.Errorf("add the health check: %w", err)
	}
	if err := m.AddReadyzCheck("cache", synced(m)); err != nil {
		return nil, fmt.Errorf("add the readiness check: %w", err)
	}
	return m, nil
}

// synced is ready when the cache has seen all objects once.
func synced(m manager.Manager) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !m.GetCache().WaitForCacheSync(ctx) {
			return errors.New("the cache has not seen all objects yet")
		}
		return nil
	}
}

// cached keeps only what belongs to RaftClusters.
func cached(namespaces []string) cache.Options {
	ours, err := labels.Parse(api.LabelCluster)
	if err != nil {
		ours = labels.Everything()
	}
	labelled := cache.ByObject{Label: ours}
	options := cache.Options{ByObject: map[client.Object]cache.ByObject{
		&appsv1.StatefulSet{}:           labelled,
		&corev1.Service{}:               labelled,
		&corev1.ServiceAccount{}:        labelled,
		&corev1.Pod{}:                   labelled,
		&corev1.PersistentVolumeClaim{}: labelled,
		&policyv1.PodDisruptionBudget{}: labelled,
	}}
	for _, ns := range namespaces {
		if options.DefaultNamespaces == nil {
			options.DefaultNamespaces = map[string]cache.Config{}
		}
		options.DefaultNamespaces[ns] = cache.Config{}
	}
	return options
}

// setUp wires the reconciler to what it watches.
func setUp(m manager.Manager, o Options) error {
	defaults := resource.Defaults{Image: o.MemberImage}
	// Members are asked often and never through a proxy; a connection outlives no Pod for long.
	members := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1, IdleConnTimeout: 30 * time.Second}}
	steps, err := register(metrics.Registry, newCensus(m.GetClient(), m.Elected()))
	if err != nil {
		return err
	}
	r := &Reconciler{
		Observer: observe.Observer{Objects: m.GetClient(), Rehearse: client.NewDryRunClient(m.GetClient()), HTTP: members, Defaults: defaults},
		Actor: act.Actor{
			Objects: m.GetClient(), Live: m.GetAPIReader(), HTTP: members, Defaults: defaults, NewClusterID: newClusterID,
		},
		Objects: m.GetClient(),
		Events:  m.GetEventRecorder("raftsman-operator"),
		Steps:   steps,
		Poll:    o.Poll,
		Now:     time.Now,
	}
	owner := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, obj client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: obj.GetLabels()[api.LabelCluster]}}}
	})
	skip := true
	err = ctrl.NewControllerManagedBy(m).
		Named("raftcluster").
		For(&api.RaftCluster{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		Owns(&appsv1.StatefulSet{}).Owns(&corev1.Service{}).Owns(&corev1.ServiceAccount{}).Owns(&policyv1.PodDisruptionBudget{}).
		Watches(&corev1.Pod{}, owner).Watches(&corev1.PersistentVolumeClaim{}, owner).
		WithOptions(controller.Options{MaxConcurrentReconciles: o.Concurrency, SkipNameValidation: &skip}).
		Complete(r)
	if err != nil {
		return fmt.Errorf("watch RaftClusters and their objects: %w", err)
	}
	return nil
}

// newClusterID draws 64 random bits, never zero, which means none.
func newClusterID() (string, error) {
	for {
		var bits [8]byte
		if _, err := rand.Read(bits[:]); err != nil {
			return "", err
		}
		if bits != [8]byte{} {
			return hex.EncodeToString(bits[:]), nil
		}
	}
}
