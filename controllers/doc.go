// Package controllers is the operator's loop: for each RaftCluster observe, plan, act, report, one step at a
// time, and the manager around it.
//
// What the operator may do in Kubernetes is listed here and nowhere else; config/ and the chart are made
// from these markers.
//
// +kubebuilder:rbac:groups=raftsman.dev,resources=raftclusters,verbs=get;list;watch
// +kubebuilder:rbac:groups=raftsman.dev,resources=raftclusters/status,verbs=update
// +kubebuilder:rbac:groups=raftsman.dev,resources=raftclusters/finalizers,verbs=update
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=services;serviceaccounts,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups="",resources=pods/eviction,verbs=create
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,verbs=create;patch;update
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,namespace=raftsman-system,verbs=get;create;update
// +kubebuilder:rbac:groups="";events.k8s.io,resources=events,namespace=raftsman-system,verbs=create;patch;update
package controllers
