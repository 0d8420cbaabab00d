"""Loop kernels as PTX for NVIDIA's GPUs."""
