package kubestore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kind is one kind of object that the load makes.
type kind struct {
	name string // as the API server's metrics call it
	one  func(name string) client.Object
	list func() client.ObjectList
}

// cached is served by the API server's watch cache, which alone talks to the store; direct has no cache, so that every
// list and watch of it is the store's.
func kinds() (cached, direct kind) {
	const size = 1 << 10
	value := strings.Repeat("raftsman", size/len("raftsman"))
	named := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, Name: name} }
	cached = kind{
		name: "configmaps",
		one: func(name string) client.Object {
			return &corev1.ConfigMap{ObjectMeta: named(name), Data: map[string]string{"name": name, "filling": value}}
		},
		list: func() client.ObjectList { return &corev1.ConfigMapList{} },
	}
	direct = kind{
		name: "secrets",
		one: func(name string) client.Object {
			return &corev1.Secret{ObjectMeta: named(name), StringData: map[string]string{"name": name, "filling": value}}
		},
		list: func() client.ObjectList { return &corev1.SecretList{} },
	}
	return cached, direct
}

// prefix begins the names of all objects that the load makes; the namespace holds others of the same kinds.
const prefix = "round-"

// informer keeps a ledger of one kind the way client libraries keep their caches: a list, then a watch from there, then
// again from where it ended; a new list only where the API server says that it cannot go on.
type informer struct {
	api    client.WithWatch
	kind   kind
	ledger *ledger
	from   string // the version that the next watch goes on from; empty: list first
}

// run goes on until ctx ends.
func (i *informer) run(ctx context.Context) {
	const pause = 100 * time.Millisecond
	again := time.NewTicker(pause)
	defer again.Stop()
	for ctx.Err() == nil {
		if err := i.once(ctx); apierrors.IsResourceExpired(err) || apierrors.IsGone(err) {
			i.from = ""
			i.ledger.mu.Lock()
			i.ledger.mu.relists++
			i.ledger.mu.Unlock()
		}
		select {
		case <-ctx.Done():
		case <-again.C:
		}
	}
}

// once lists where that is needed, and watches until the watch ends.
func (i *informer) once(ctx context.Context) error {
	if i.from == "" {
		there, version, err := i.everything(ctx)
		if err != nil {
			return err
		}
		i.ledger.list(there, version, time.Now())
		i.from = strconv.FormatUint(version, 10)
	}
	options := &client.ListOptions{Namespace: namespace, Raw: &metav1.ListOptions{ResourceVersion: i.from, AllowWatchBookmarks: true}}
	w, err := i.api.Watch(ctx, i.kind.list(), options)
	if err != nil {
		return err
	}
	defer w.Stop()
	i.ledger.mu.Lock()
	i.ledger.mu.streams++
	i.ledger.mu.Unlock()
	for event := range w.ResultChan() {
		if err := i.hear(event, time.Now()); err != nil {
			return err
		}
	}
	return nil
}

// hear notes one event.
func (i *informer) hear(event watch.Event, at time.Time) error {
	if event.Type == watch.Error {
		return apierrors.FromObject(event.Object)
	}
	o, err := meta.Accessor(event.Object)
	if err != nil {
		return err
	}
	version, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
	if err != nil {
		return fmt.Errorf("version %q of %s: %w", o.GetResourceVersion(), o.GetName(), err)
	}
	switch {
	case event.Type == watch.Bookmark:
		i.ledger.bookmark(version)
	case strings.HasPrefix(o.GetName(), prefix):
		i.ledger.event(event.Type, o.GetName(), o.GetUID(), version, at)
	}
	i.from = o.GetResourceVersion()
	return nil
}

func (i *informer) everything(ctx context.Context) (map[string]types.UID, uint64, error) {
	list := i.kind.list()
	if err := i.api.List(ctx, list, client.InNamespace(namespace)); err != nil {
		return nil, 0, err
	}
	there := map[string]types.UID{}
	if err := collect(list, there); err != nil {
		return nil, 0, err
	}
	version, err := strconv.ParseUint(list.GetResourceVersion(), 10, 64)
	return there, version, err
}

// collect adds the load's objects of a list; one that is there already is an error.
func collect(list client.ObjectList, to map[string]types.UID) error {
	return meta.EachListItem(list, func(item runtime.Object) error {
		o, err := meta.Accessor(item)
		if err != nil || !strings.HasPrefix(o.GetName(), prefix) {
			return err
		}
		if _, ok := to[o.GetName()]; ok {
			return fmt.Errorf("%s is listed twice", o.GetName())
		}
		to[o.GetName()] = o.GetUID()
		return nil
	})
}
