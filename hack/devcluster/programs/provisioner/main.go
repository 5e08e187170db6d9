// Command provisioner is the dev cluster's storage driver. A volume is a directory on the node that the
// scheduler has chosen for the first Pod that uses it, under --root/NODE/, and the volume says that it
// lives there (node affinity). The directory is open to every user, so that a Pod that is not root can
// write it. Claims of mode ReadWriteOncePod are served like any other: Kubernetes itself enforces the mode.
// A claim that asks for more gets it within a second.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// open lets every user write: the process in the Pod may be any user.
const open = 0o777

// directories makes and removes volumes. All nodes share one machine, so one provisioner reaches all.
type directories struct {
	root string
}

// Provision makes the directory of one volume on the node chosen by the scheduler.
func (d directories) Provision(_ context.Context, o controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	if o.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New("no node was selected: the storage class must have volumeBindingMode WaitForFirstConsumer")
	}
	if o.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("a claim with a selector cannot be provisioned: remove spec.selector")
	}
	path := filepath.Join(d.root, o.SelectedNodeName, o.PVName)
	if err := os.MkdirAll(path, 0o755); err != nil {
		return nil, controller.ProvisioningFinished, fmt.Errorf("make volume %s: %w", o.PVName, err)
	}
	if err := os.Chmod(path, open); err != nil { // MkdirAll's mode is cut by the umask
		return nil, controller.ProvisioningFinished, fmt.Errorf("open volume %s to every user: %w", o.PVName, err)
	}
	return d.volume(o, path), controller.ProvisioningFinished, nil
}

// volume describes the directory to Kubernetes as a local volume of its node.
func (d directories) volume(o controller.ProvisionOptions, path string) *core.PersistentVolume {
	here := core.NodeSelectorRequirement{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{o.SelectedNodeName}}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: o.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *o.StorageClass.ReclaimPolicy,
			AccessModes:                   o.PVC.Spec.AccessModes,
			VolumeMode:                    o.PVC.Spec.VolumeMode,
			MountOptions:                  o.StorageClass.MountOptions,
			Capacity:                      core.ResourceList{core.ResourceStorage: o.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{
				NodeSelectorTerms: []core.NodeSelectorTerm{{MatchExpressions: []core.NodeSelectorRequirement{here}}},
			}},
		},
	}
}

// Delete removes the directory of a volume. A volume that is not under root is not ours to remove.
func (d directories) Delete(_ context.Context, v *core.PersistentVolume) error {
	if v.Spec.Local == nil {
		return &controller.IgnoredError{Reason: "volume " + v.Name + " is not a local one"}
	}
	rel, err := filepath.Rel(d.root, v.Spec.Local.Path)
	if err != nil || !filepath.IsLocal(rel) || rel == "." {
		return &controller.IgnoredError{Reason: "volume " + v.Name + " lies outside of " + d.root}
	}
	return os.RemoveAll(v.Spec.Local.Path)
}

func run(ctx context.Context, kubeconfig, name, root string) error {
	if kubeconfig == "" || name == "" || !filepath.IsAbs(root) {
		return errors.New("--kubeconfig, --name and an absolute --root are needed")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client from %s: %w", kubeconfig, err)
	}
	go resize(ctx, client, name)
	controller.NewProvisionController(ctx, client, name, directories{root: root},
		controller.LeaderElection(false), // there is one of us for each cluster
	).Run(ctx)
	return nil
}

func main() {
	kubeconfig := flag.String("kubeconfig", "", "the cluster's kubeconfig `file`")
	name := flag.String("name", "", "the provisioner `name` that storage classes give")
	root := flag.String("root", "", "the `directory` that holds the volumes of all nodes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *kubeconfig, *name, *root); err != nil {
		fmt.Fprintln(os.Stderr, "provisioner:", err)
		os.Exit(1)
	}
}
