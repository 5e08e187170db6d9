package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"raftsman.dev/hack/e2e/kube"
	"raftsman.dev/hack/e2e/load"
	"raftsman.dev/node/admin"
)

// hermits are three members without an operator, whose addresses in the membership are their Pods' IPs: when
// all Pods are made anew, every address that a member remembers is wrong, and there is nothing but the name of
// the headless service to find each other by.
const hermits = `apiVersion: v1
kind: Namespace
metadata:
  name: hermits
  labels: {pod-security.kubernetes.io/enforce: restricted}
---
apiVersion: v1
kind: Service
metadata: {name: peers, namespace: hermits}
spec:
  clusterIP: None
  publishNotReadyAddresses: true
  selector: {app: hermit}
  ports: [{name: client, port: 2379}, {name: peer, port: 2380}]
`

const hermit = `---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[1]s, namespace: hermits}
spec:
  replicas: %[2]d
  serviceName: peers
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: hermit, set: %[1]s}}
  template:
    metadata: {labels: {app: hermit, set: %[1]s}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 5
      securityContext: {runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
      - name: member
        image: %[3]s
        imagePullPolicy: Never
        args:
        - node
        - --name=$(POD_NAME)
        - --data-dir=/var/lib/raftsman
        - --listen-client=:2379
        - --listen-peer=:2380
        - --listen-metrics=:2381
        - --listen-admin=:2382
        - --advertise-peer=$(POD_IP):2380
        - --advertise-client=http://$(POD_IP):2379
        - --discover=peers.hermits.svc:2380
        %[4]s
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
        volumeMounts: [{name: data, mountPath: /var/lib/raftsman}]
  volumeClaimTemplates:
  - metadata: {name: data}
    spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 100Mi}}}
`

func hermitPods() []kube.Pod {
	return []kube.Pod{{Namespace: "hermits", Name: "founder-0"}, {Namespace: "hermits", Name: "other-0"}, {Namespace: "hermits", Name: "other-1"}}
}

// staleAddresses makes three hermits, replaces all their Pods, and watches them find each other.
func (s *suite) staleAddresses(t *testing.T) {
	s.client(t)
	s.apply(t, hermits+fmt.Sprintf(hermit, "founder", 1, s.image, "- --form")+fmt.Sprintf(hermit, "other", 2, s.image, ""))
	t.Cleanup(func() {
		if _, err := s.k.Run(context.Background(), s.k.Kubectl, "delete", "namespace", "hermits", "--timeout=90s"); err != nil {
			t.Error(err)
		}
	})
	s.gather(t)
	old := s.addresses(t)
	founder := "http://founder-0.peers.hermits.svc:2379"
	if a := s.one(t, load.One{Endpoints: []string{founder}, Key: "k", Value: "before"}); a.Error != "" {
		t.Fatalf("put: %s", a.Error)
	}
	s.say("  replacing all Pods")
	s.kubectl(t, "delete", "pods", "-n", "hermits", "-l", "app=hermit", "--timeout=60s")
	known := map[string]bool{}
	for _, p := range hermitPods() {
		s.until(t, p.Name+" leads or follows", func(ctx context.Context) error {
			m, err := s.k.Member(ctx, p, admin.StatusOptions{Quorum: true})
			switch {
			case err != nil:
				return err
			case m.Membership == nil || len(m.Membership.Members) != 3:
				return fmt.Errorf("it knows the membership %+v", m.Membership)
			}
			for _, x := range m.Membership.Members {
				known[strings.TrimSuffix(x.PeerAddress, ":2380")] = true
			}
			if !m.Quorate || m.Leader == "" {
				return fmt.Errorf("it is a %s and knows the leader %q", m.Role, m.Leader)
			}
			return nil
		})
	}
	now := s.addresses(t)
	for ip := range now {
		if old[ip] || known[ip] {
			t.Errorf("%s is an address that the members had in their membership: nothing is proven", ip)
		}
	}
	for ip := range known {
		if !old[ip] {
			t.Errorf("the membership has %s, which was no member's address", ip)
		}
	}
	for _, p := range hermitPods() {
		at := fmt.Sprintf("http://%s.peers.hermits.svc:2379", p.Name)
		if a := s.one(t, load.One{Endpoints: []string{at}, Key: "k"}); a.Value != "before" {
			t.Errorf("get at %s: %+v", p.Name, a)
		}
		if a := s.one(t, load.One{Endpoints: []string{at}, Key: "after/" + p.Name, Value: "v"}); a.Error != "" {
			t.Errorf("put at %s: %s", p.Name, a.Error)
		}
	}
}

// addresses are the Pods' IPs.
func (s *suite) addresses(t *testing.T) map[string]bool {
	t.Helper()
	ips := map[string]bool{}
	s.until(t, "three Pods have addresses", func(ctx context.Context) error {
		pods, err := s.k.Pods(ctx, "hermits", "app=hermit")
		if err != nil {
			return err
		}
		clear(ips)
		for _, p := range pods {
			if p.Status.PodIP != "" && p.DeletionTimestamp == nil {
				ips[p.Status.PodIP] = true
			}
		}
		if len(ips) != 3 {
			return fmt.Errorf("%d have", len(ips))
		}
		return nil
	})
	return ips
}

// gather adds the others to the founder's cluster in etcd's own way: as learners first, then as voters.
func (s *suite) gather(t *testing.T) {
	t.Helper()
	etcdctl := func(ctx context.Context, args ...string) (string, error) {
		return s.k.Run(ctx, s.k.Kubectl, append([]string{"exec", "-n", elsewhere, "client", "--", "/etcdctl", "--endpoints=http://founder-0.peers.hermits.svc:2379"}, args...)...)
	}
	s.until(t, "the founder serves", func(ctx context.Context) error {
		_, err := etcdctl(ctx, "put", "first", "v")
		return err
	})
	for _, p := range hermitPods()[1:] {
		id := ""
		s.until(t, p.Name+" reports itself", func(ctx context.Context) error {
			m, err := s.k.Member(ctx, p, admin.StatusOptions{})
			id = m.MemberID
			return err
		})
		pod := s.kubectl(t, "get", "pod", "-n", p.Namespace, p.Name, "-o", "jsonpath={.status.podIP}")
		s.until(t, p.Name+" is added", func(ctx context.Context) error {
			text, err := etcdctl(ctx, "member", "add", p.Name, "--learner", "--peer-urls=http://"+pod+":2380")
			if err != nil && strings.Contains(text, "already exists") {
				return nil
			}
			return err
		})
		s.until(t, p.Name+" is promoted", func(ctx context.Context) error {
			_, err := etcdctl(ctx, "member", "promote", id)
			if err == nil {
				return nil
			}
			m, asked := s.k.Member(ctx, p, admin.StatusOptions{})
			if asked == nil && m.Role != admin.RoleLearner && m.Membership != nil {
				return nil // an earlier promotion went through and its answer was lost
			}
			return err
		})
	}
}
