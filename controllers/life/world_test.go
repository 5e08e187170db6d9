package life

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	api "raftsman.dev/api/v1alpha1"
	"raftsman.dev/controllers/resource"
	"raftsman.dev/node/admin"
)

// beat is how long the world's smallest moment lasts.
const beat = 50 * time.Millisecond

// world is the machines' side of the API server: it schedules every Pod, runs a simulated member in it, and tells
// the API server how it is, as a kubelet would. Data lies on claims and outlives Pods.
type world struct {
	api     client.Client
	objects cache.Cache

	mu      sync.Mutex
	rng     *rand.Rand
	network [2]int // the first two numbers after 127
	hosts   int
	disks   map[types.UID]*disk
	groups  map[string]*group
	running map[types.UID]*process
	silent  map[string]bool
	fuses   map[string]*fuse
	forms   []admin.FormRequest
	// broken is what the operator did that it must never do.
	broken []string
	boots  uint64
}

// process is a running Pod.
type process struct {
	member *member
	ip     string
	server *http.Server
	since  metav1.Time
}

func newWorld(objects client.Client, seen cache.Cache, seed uint64) *world {
	rng := rand.New(rand.NewPCG(seed, 1))
	return &world{
		api: objects, objects: seen, rng: rng,
		// Any address of 127.0.0.0/8 can be listened on: each Pod has its own, and the real admin port.
		network: [2]int{1 + rng.IntN(200), rng.IntN(256)},
		disks:   map[types.UID]*disk{}, groups: map[string]*group{}, running: map[types.UID]*process{},
		silent: map[string]bool{}, fuses: map[string]*fuse{},
	}
}

// run lets the world live until the context ends.
func (w *world) run(ctx context.Context) {
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, p := range w.running {
				_ = p.server.Close()
			}
			return
		case <-tick.C:
			w.turn(ctx)
		}
	}
}

// turn is one moment of every Pod and group. What the API server refuses now is tried again in the next one.
func (w *world) turn(ctx context.Context) {
	pods, claims := &corev1.PodList{}, &corev1.PersistentVolumeClaimList{}
	// What the cache holds is read here and never written, so it need not be copied.
	if w.objects.List(ctx, pods, client.UnsafeDisableDeepCopy) != nil || w.objects.List(ctx, claims, client.UnsafeDisableDeepCopy) != nil {
		return
	}
	byName := map[types.NamespacedName]corev1.PersistentVolumeClaim{}
	for _, c := range claims.Items {
		w.volume(ctx, &c)
		byName[client.ObjectKeyFromObject(&c)] = c
	}
	there := map[types.UID]bool{}
	for i := range pods.Items {
		p := &pods.Items[i]
		there[p.UID] = true
		w.pod(ctx, p, byName[types.NamespacedName{Namespace: p.Namespace, Name: resource.ClaimName(p.Name)}])
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for uid := range w.running {
		if !there[uid] {
			w.end(uid)
		}
	}
	w.turnGroups()
}

func (w *world) turnGroups() {
	for _, g := range w.groups {
		up := w.up(g)
		g.turn(up, w.rng)
		for _, p := range w.running {
			d := p.member.disk
			seat := g.find(d.member)
			switch {
			case seat != nil && d.cluster == "" && g.leader != "":
				d.cluster = g.id // the leader has contacted it
			case seat == nil && d.cluster == g.id && g.leader != "":
				d.removed = true
			}
		}
	}
}

// up are the IDs of a group's members that run on sound data and are reached. The caller holds mu.
func (w *world) up(g *group) map[string]bool {
	ids := map[string]bool{}
	for _, p := range w.running {
		if d := p.member.disk; (d.cluster == g.id || d.cluster == "") && !d.corrupt && !d.removed {
			ids[d.member] = true
		}
	}
	return ids
}

// pod does what scheduler and kubelet do for one Pod.
func (w *world) pod(ctx context.Context, p *corev1.Pod, claim corev1.PersistentVolumeClaim) {
	w.mu.Lock()
	process := w.running[p.UID]
	w.mu.Unlock()
	switch {
	case p.DeletionTimestamp != nil:
		w.mu.Lock()
		w.end(p.UID)
		w.mu.Unlock()
		now := int64(0)
		_ = w.api.Delete(ctx, p, &client.DeleteOptions{GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(p.UID))})
	case p.Spec.NodeName == "":
		binding := &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "node-0"}}
		_ = w.api.SubResource("binding").Create(ctx, p, binding)
	case strings.HasSuffix(p.Spec.Containers[0].Image, ":bad"):
		w.tell(ctx, p, status(p, corev1.PodPending, "", corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}}, false, metav1.Time{}))
	case process == nil:
		if claim.UID != "" && claim.DeletionTimestamp == nil {
			w.boot(p, claim)
		}
	default:
		w.mu.Lock()
		ready := process.member.serves() && !w.silent[p.Namespace+"/"+p.Name]
		w.mu.Unlock()
		w.tell(ctx, p, status(p, corev1.PodRunning, process.ip, corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: process.since}}, ready, process.since))
	}
}

// status is what a kubelet says of a Pod.
func status(p *corev1.Pod, phase corev1.PodPhase, ip string, state corev1.ContainerState, ready bool, since metav1.Time) corev1.PodStatus {
	is := corev1.ConditionFalse
	if ready {
		is = corev1.ConditionTrue
	}
	s := corev1.PodStatus{
		Phase: phase, PodIP: ip, QOSClass: p.Status.QOSClass,
		Conditions: []corev1.PodCondition{
			{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
			{Type: corev1.ContainersReady, Status: is, LastTransitionTime: since},
			{Type: corev1.PodReady, Status: is, LastTransitionTime: since},
		},
		ContainerStatuses: []corev1.ContainerStatus{{Name: p.Spec.Containers[0].Name, Image: p.Spec.Containers[0].Image, Ready: ready, State: state}},
	}
	if ip != "" {
		s.PodIPs = []corev1.PodIP{{IP: ip}}
	}
	return s
}

// tell writes a Pod's status if it says something new.
func (w *world) tell(ctx context.Context, p *corev1.Pod, s corev1.PodStatus) {
	if same(p.Status, s) {
		return
	}
	next := p.DeepCopy()
	next.Status = s
	_ = w.api.Status().Update(ctx, next)
}

func same(a, b corev1.PodStatus) bool {
	brief := func(s corev1.PodStatus) string {
		ready, image, waits := false, "", ""
		for _, c := range s.Conditions {
			ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		}
		for _, c := range s.ContainerStatuses {
			image = c.Image
			if c.State.Waiting != nil {
				waits = c.State.Waiting.Reason
			}
		}
		return fmt.Sprint(s.Phase, s.PodIP, ready, image, waits)
	}
	return brief(a) == brief(b)
}

// boot starts the member of a Pod on its claim's disk. An empty disk gets an identity, and so does one whose group
// has removed the old one.
func (w *world) boot(p *corev1.Pod, claim corev1.PersistentVolumeClaim) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.disks[claim.UID]
	if d == nil {
		d = &disk{}
		w.disks[claim.UID] = d
	}
	if g := w.groups[d.cluster]; d.removed || g != nil && g.find(d.member) == nil && g.leader != "" {
		*d = disk{}
	}
	if d.member == "" {
		d.member = fmt.Sprintf("%016x", w.rng.Uint64())
	}
	w.boots++
	m := &member{w: w, namespace: p.Namespace, name: p.Name, version: resource.Tag(p.Spec.Containers[0].Image), disk: d, boot: w.boots}
	ip := w.address()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, fmt.Sprint(resource.AdminPort)))
	if err != nil {
		return // the address is taken: the next turn takes another
	}
	s := &http.Server{Handler: w.wire(m)}
	go func() { _ = s.Serve(l) }()
	w.running[p.UID] = &process{member: m, ip: ip, server: s, since: metav1.Now()}
}

// address is the next Pod's. It takes a while until one comes again. The caller holds mu.
func (w *world) address() string {
	w.hosts++
	return fmt.Sprintf("127.%d.%d.%d", w.network[0], (w.network[1]+w.hosts/250)%256, w.hosts%250+1)
}

// wire is the network in front of a member: it may be cut, and it may take an operator's life.
func (w *world) wire(m *member) http.Handler {
	real := admin.NewHandler(m)
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		silent, f := w.silent[m.namespace+"/"+m.name], w.fuses[m.namespace]
		w.mu.Unlock()
		if silent {
			panic(http.ErrAbortHandler)
		}
		if r.Method == http.MethodGet || f == nil {
			real.ServeHTTP(rw, r)
			return
		}
		refused, lost := f.effect(r.Method + " " + r.URL.Path)
		if refused {
			panic(http.ErrAbortHandler)
		}
		if lost {
			real.ServeHTTP(discard{http.Header{}}, r)
			panic(http.ErrAbortHandler)
		}
		real.ServeHTTP(rw, r)
	})
}

// discard is where an answer goes that nobody will read.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

// end stops a Pod's member. The caller holds mu.
func (w *world) end(uid types.UID) {
	if p := w.running[uid]; p != nil {
		_ = p.server.Close()
		delete(w.running, uid)
	}
}

// in are the groups that have a member in a namespace, and the processes there by Pod name.
func (w *world) in(namespace string) (map[string]*group, map[string]*process) {
	groups, processes := map[string]*group{}, map[string]*process{}
	for _, p := range w.running {
		if p.member.namespace != namespace {
			continue
		}
		processes[p.member.name] = p
		if g := p.member.group(); g != nil {
			groups[g.id] = g
		}
	}
	return groups, processes
}

// look runs f with the one group of a namespace, nil if there is none, under the world's lock.
func (w *world) look(namespace string, f func(g *group, members map[string]*process)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	groups, processes := w.in(namespace)
	for _, g := range groups {
		f(g, processes)
		return
	}
	f(nil, processes)
}

// ids are the member IDs by Pod name.
func (w *world) ids(namespace string) map[string]string {
	ids := map[string]string{}
	w.look(namespace, func(_ *group, members map[string]*process) {
		for name, p := range members {
			ids[name] = p.member.disk.member
		}
	})
	return ids
}

// silence cuts or mends the wire of a Pod.
func (w *world) silence(namespace, pod string, cut bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent[namespace+"/"+pod] = cut
}

// lose deletes a Pod and its claim, as a lost disk would have somebody do.
func (w *world) lose(ctx context.Context, namespace string, pods ...string) error {
	for _, pod := range pods {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: resource.ClaimName(pod)}}
		if err := w.api.Delete(ctx, claim); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return w.kill(ctx, namespace, pods...)
}

// kill deletes Pods.
func (w *world) kill(ctx context.Context, namespace string, pods ...string) error {
	for _, pod := range pods {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod}}
		if err := w.api.Delete(ctx, p); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// brief is a RaftCluster's status for a failure's message.
func brief(c *api.RaftCluster) string {
	text, err := json.MarshalIndent(c.Status, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// conditions are the types of those conditions that are True, in order.
func conditions(c *api.RaftCluster) []string {
	var is []string
	for _, cond := range c.Status.Conditions {
		if cond.Status == metav1.ConditionTrue {
			is = append(is, cond.Type)
		}
	}
	slices.Sort(is)
	return is
}
