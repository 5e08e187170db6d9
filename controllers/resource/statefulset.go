package resource

import (
	"fmt"
	"maps"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	quantity "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

	api "raftsman.dev/api/v1alpha1"
)

// user is the user and group that members run as, the same as in the image.
const user = 65532

// dataDir is where a member's volume is mounted.
const dataDir = "/var/lib/raftsman"

// StatefulSet runs the members. All Pods start at once, because members need each other to be born; and
// only the operator replaces a Pod, because only it knows who leads.
func StatefulSet(c *api.RaftCluster, d Defaults, s Sizes) *appsv1.StatefulSet {
	deleted := appsv1.RetainPersistentVolumeClaimRetentionPolicyType
	if c.Spec.Storage.Retention.WhenDeleted == api.Delete {
		deleted = appsv1.DeletePersistentVolumeClaimRetentionPolicyType
	}
	return &appsv1.StatefulSet{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "StatefulSet"},
		ObjectMeta: meta(c, c.Name),
		Spec: appsv1.StatefulSetSpec{
			Replicas:            &s.Replicas,
			ServiceName:         PeerServiceName(c),
			PodManagementPolicy: appsv1.ParallelPodManagement,
			UpdateStrategy:      appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType},
			// Scaling in deletes volumes too, but the operator does that itself: after the Pod, after the membership.
			PersistentVolumeClaimRetentionPolicy: &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{
				WhenDeleted: deleted, WhenScaled: appsv1.RetainPersistentVolumeClaimRetentionPolicyType,
			},
			Selector:             &metav1.LabelSelector{MatchLabels: Selector(c)},
			VolumeClaimTemplates: []corev1.PersistentVolumeClaim{claim(c, s.Storage)},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: versioned(labels(c, c.Spec.Labels), Image(c, d)), Annotations: annotations(c)},
				Spec:       pod(c, d),
			},
		},
	}
}

func claim(c *api.RaftCluster, size quantity.Quantity) corev1.PersistentVolumeClaim {
	if size.IsZero() {
		size = c.Spec.Storage.Size
	}
	mode := c.Spec.Storage.AccessMode
	if mode == "" {
		mode = corev1.ReadWriteOnce
	}
	return corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: volume, Labels: Selector(c)},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{mode},
			StorageClassName: c.Spec.Storage.ClassName,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: size}},
		},
	}
}

func pod(c *api.RaftCluster, d Defaults) corev1.PodSpec {
	yes, no, id := true, false, int64(user)
	ownRoot := corev1.FSGroupChangeOnRootMismatch
	return corev1.PodSpec{
		ServiceAccountName:            c.Name + "-member",
		AutomountServiceAccountToken:  &no,
		EnableServiceLinks:            &no,
		ImagePullSecrets:              c.Spec.ImagePullSecrets,
		TerminationGracePeriodSeconds: c.Spec.TerminationGracePeriodSeconds,
		SecurityContext: &corev1.PodSecurityContext{
			RunAsNonRoot: &yes, RunAsUser: &id, RunAsGroup: &id, FSGroup: &id, FSGroupChangePolicy: &ownRoot,
			SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
		Containers:                []corev1.Container{container(c, d)},
		NodeSelector:              c.Spec.NodeSelector,
		Tolerations:               c.Spec.Tolerations,
		Affinity:                  affinity(c),
		TopologySpreadConstraints: spread(c),
		PriorityClassName:         c.Spec.PriorityClassName,
	}
}

func container(c *api.RaftCluster, d Defaults) corev1.Container {
	yes, no := true, false
	return corev1.Container{
		Name:            "member",
		Image:           Image(c, d),
		ImagePullPolicy: c.Spec.ImagePullPolicy,
		Args:            args(c),
		Env:             []corev1.EnvVar{downward("POD_NAME", "metadata.name"), downward("POD_NAMESPACE", "metadata.namespace")},
		Ports: []corev1.ContainerPort{
			{Name: "client", ContainerPort: ClientPort, Protocol: corev1.ProtocolTCP},
			{Name: "peer", ContainerPort: PeerPort, Protocol: corev1.ProtocolTCP},
			{Name: "metrics", ContainerPort: MetricsPort, Protocol: corev1.ProtocolTCP},
			{Name: "admin", ContainerPort: AdminPort, Protocol: corev1.ProtocolTCP},
		},
		Resources:    c.Spec.Resources,
		VolumeMounts: []corev1.VolumeMount{{Name: volume, MountPath: dataDir}},
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: &no, ReadOnlyRootFilesystem: &yes,
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
		// Replaying a long log may take minutes; after that, silence of the member's own loop means a restart.
		StartupProbe:   probe("/livez", 1, 600),
		LivenessProbe:  probe("/livez", 10, 3),
		ReadinessProbe: probe("/readyz", 2, 2),
	}
}

// Image is the members' image.
func Image(c *api.RaftCluster, d Defaults) string {
	if c.Spec.Image != "" {
		return c.Spec.Image
	}
	return d.Image
}

// Tag is an image's tag, empty when it has none.
func Tag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	_, tag, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
	return tag
}

// annotations are the spec's own, with the one that asks for a restart.
func annotations(c *api.RaftCluster) map[string]string {
	at, ok := c.Annotations[api.AnnotationRestartedAt]
	if !ok {
		return c.Spec.Annotations
	}
	all := map[string]string{}
	maps.Copy(all, c.Spec.Annotations)
	all[api.AnnotationRestartedAt] = at
	return all
}

// versioned adds the image's tag as the version, where there is one that can be a label.
func versioned(labels map[string]string, image string) map[string]string {
	tag := Tag(image)
	if tag != "" && len(validation.IsValidLabelValue(tag)) == 0 {
		labels[api.LabelVersion] = tag
	}
	return labels
}

// args are the flags of `raftsman node`. Addresses name no DNS domain: the resolver's search path does.
func args(c *api.RaftCluster) []string {
	peers := PeerServiceName(c) + ".$(POD_NAMESPACE).svc"
	return []string{
		"node",
		"--name=$(POD_NAME)",
		"--data-dir=" + dataDir,
		fmt.Sprintf("--listen-client=:%d", ClientPort),
		fmt.Sprintf("--listen-peer=:%d", PeerPort),
		fmt.Sprintf("--listen-metrics=:%d", MetricsPort),
		fmt.Sprintf("--listen-admin=:%d", AdminPort),
		fmt.Sprintf("--advertise-peer=$(POD_NAME).%s:%d", peers, PeerPort),
		fmt.Sprintf("--advertise-client=http://$(POD_NAME).%s:%d", peers, ClientPort),
		fmt.Sprintf("--discover=%s:%d", peers, PeerPort),
		"--managed",
		"--election-timeout=" + string(c.Spec.ElectionTimeout),
		"--heartbeat-interval=" + string(c.Spec.HeartbeatInterval),
	}
}

func downward(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

func probe(path string, period, failures int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:     corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromString("metrics"), Scheme: corev1.URISchemeHTTP}},
		PeriodSeconds:    period,
		TimeoutSeconds:   2,
		SuccessThreshold: 1,
		FailureThreshold: failures,
	}
}

// spread is the spec's own; where it says nothing, preferably one member a node. There is no constraint on zones beside
// it: the scheduler scores no node that lacks the label of any one of them, and many clusters have no zones.
func spread(c *api.RaftCluster) []corev1.TopologySpreadConstraint {
	own := &metav1.LabelSelector{MatchLabels: Selector(c)}
	if len(c.Spec.TopologySpreadConstraints) == 0 {
		return []corev1.TopologySpreadConstraint{
			{MaxSkew: 1, TopologyKey: corev1.LabelHostname, WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: own},
		}
	}
	var all []corev1.TopologySpreadConstraint
	for _, t := range c.Spec.TopologySpreadConstraints {
		if t.LabelSelector == nil {
			t.LabelSelector = own
		}
		all = append(all, t)
	}
	return all
}

// affinity is the spec's own; where it says nothing of spreading, members prefer zones without others.
func affinity(c *api.RaftCluster) *corev1.Affinity {
	if len(c.Spec.TopologySpreadConstraints) > 0 || c.Spec.Affinity != nil && c.Spec.Affinity.PodAntiAffinity != nil {
		return c.Spec.Affinity
	}
	all := &corev1.Affinity{}
	if c.Spec.Affinity != nil {
		all = c.Spec.Affinity.DeepCopy()
	}
	all.PodAntiAffinity = &corev1.PodAntiAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{
		Weight:          100, // the most
		PodAffinityTerm: corev1.PodAffinityTerm{TopologyKey: corev1.LabelTopologyZone, LabelSelector: &metav1.LabelSelector{MatchLabels: Selector(c)}},
	}}}
	return all
}
