package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// resizePause is how long a claim waits at most until its volume has the size that it asks for.
const resizePause = time.Second

// provisionedBy is where Kubernetes writes who has made a volume.
const provisionedBy = "pv.kubernetes.io/provisioned-by"

// resize gives volumes the size that their claims ask for, until ctx ends. A directory takes what is put into it, so
// that nothing but the record of its size has to change.
func resize(ctx context.Context, client kubernetes.Interface, name string) {
	tick := time.NewTicker(resizePause)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if err := resizeAll(ctx, client, name); err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "provisioner: resize:", err)
		}
	}
}

func resizeAll(ctx context.Context, client kubernetes.Interface, name string) error {
	volumes, err := client.CoreV1().PersistentVolumes().List(ctx, meta.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	claims, err := client.CoreV1().PersistentVolumeClaims("").List(ctx, meta.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return err
	}
	bound := map[string]*core.PersistentVolumeClaim{}
	for i, c := range claims.Items {
		if c.Status.Phase == core.ClaimBound {
			bound[c.Spec.VolumeName] = &claims.Items[i]
		}
	}
	var failed []error
	for i := range volumes.Items {
		if v := &volumes.Items[i]; v.Annotations[provisionedBy] == name && bound[v.Name] != nil {
			failed = append(failed, resizeOne(ctx, client, v, bound[v.Name]))
		}
	}
	return errors.Join(failed...)
}

// resizeOne records the size first in the volume and then in its claim, as every driver does.
func resizeOne(ctx context.Context, client kubernetes.Interface, v *core.PersistentVolume, c *core.PersistentVolumeClaim) error {
	want := c.Spec.Resources.Requests[core.ResourceStorage]
	if has := v.Spec.Capacity[core.ResourceStorage]; has.Cmp(want) < 0 {
		v.Spec.Capacity[core.ResourceStorage] = want
		if _, err := client.CoreV1().PersistentVolumes().Update(ctx, v, meta.UpdateOptions{}); err != nil {
			return fmt.Errorf("volume %s: %w", v.Name, err)
		}
	}
	if has := c.Status.Capacity[core.ResourceStorage]; has.Cmp(want) < 0 {
		c.Status.Capacity[core.ResourceStorage] = want
		c.Status.Conditions = nil
		if _, err := client.CoreV1().PersistentVolumeClaims(c.Namespace).UpdateStatus(ctx, c, meta.UpdateOptions{}); err != nil {
			return fmt.Errorf("claim %s/%s: %w", c.Namespace, c.Name, err)
		}
	}
	return nil
}
