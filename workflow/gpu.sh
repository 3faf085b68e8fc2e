# Sourced by bash before a run that wants a GPU: of those in CUDA_VISIBLE_DEVICES, take one that no other run has.
# Snakemake starts no more of such runs than there are. A lock ends with the last process that was started with it.
: "${CUDA_VISIBLE_DEVICES:=}"
for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do
    exec 9> "${TMPDIR:-/tmp}/msa_core-$UID-gpu-$gpu.lock"
    if flock --nonblock 9; then
        export CUDA_VISIBLE_DEVICES=$gpu
        break
    fi
done
