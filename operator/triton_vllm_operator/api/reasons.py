"""Condition types and reasons. They are API: people and alerts match on them."""

from enum import StrEnum


class ConditionType(StrEnum):
    """The conditions of an LLMDeployment; all are set on the first visit."""

    ACCEPTED = "Accepted"
    MEMORY_FITS = "MemoryFits"
    """Unknown where nothing certain can be said."""
    AVAILABLE = "Available"
    PROGRESSING = "Progressing"
    READY = "Ready"
    DEGRADED = "Degraded"
    STALLED = "Stalled"
    """By this word tools that follow kstatus know that waiting is in vain."""


class Reason(StrEnum):
    """Why a condition has its status."""

    # Accepted
    VALID = "Valid"
    ARGUMENTS_UNCHECKED = "ArgumentsUnchecked"
    SPEC_INVALID = "SpecInvalid"
    UNKNOWN_RUNTIME = "UnknownRuntime"
    ACCELERATOR_MISMATCH = "AcceleratorMismatch"
    FORBIDDEN_BY_ADMINISTRATOR = "ForbiddenByAdministrator"
    ARGUMENT_FORBIDDEN = "ArgumentForbidden"
    ARGUMENT_INVALID = "ArgumentInvalid"
    ENVIRONMENT_FORBIDDEN = "EnvironmentForbidden"
    ENVIRONMENT_INVALID = "EnvironmentInvalid"
    NAME_CONFLICT = "NameConflict"
    REVISION_UNREADABLE = "RevisionUnreadable"
    REFUSED_BY_API_SERVER = "RefusedByAPIServer"
    IMAGE_VOLUMES_UNSUPPORTED = "ImageVolumesUnsupported"

    # MemoryFits; Progressing and Ready carry what does not fit
    FITS = "Fits"
    FITS_TIGHTLY = "FitsTightly"
    DOES_NOT_FIT = "DoesNotFit"
    FITS_ON_SOME_NODES = "FitsOnSomeNodes"
    NO_MATCHING_NODE = "NoMatchingNode"
    GPU_UNKNOWN = "GpuUnknown"
    NODES_UNKNOWN = "NodesUnknown"
    MODEL_NOT_UNDERSTOOD = "ModelNotUnderstood"
    NOT_PLANNED = "NotPlanned"

    # Available, Ready
    GENERATES = "Generates"
    NO_POD_GENERATES = "NoPodGenerates"
    ALL_REPLICAS_GENERATE = "AllReplicasGenerate"
    SCALED_TO_ZERO = "ScaledToZero"

    # Progressing
    SETTLED = "Settled"
    CREATING_PODS = "CreatingPods"
    STARTING = "Starting"
    REPLACING_PODS = "ReplacingPods"
    SCALING_DOWN = "ScalingDown"
    NOT_ACCEPTED = "NotAccepted"
    POD_UNREACHABLE = "PodUnreachable"
    STARTUP_DEADLINE_EXCEEDED = "StartupDeadlineExceeded"

    # The model's files; Progressing and Ready carry them
    FETCHING_MODEL = "FetchingModel"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_ACCESS_DENIED = "ModelAccessDenied"
    MODEL_NOT_SERVABLE = "ModelNotServable"
    MODEL_FETCH_FAILED = "ModelFetchFailed"

    # What keeps a pod from generating; Progressing, Ready and Degraded carry them
    UNSCHEDULABLE = "Unschedulable"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_INVALID = "ContainerConfigInvalid"
    CONTAINER_CRASHED = "ContainerCrashed"
    OUT_OF_MEMORY = "OutOfMemory"
    POD_FAILED = "PodFailed"
    PODS_REFUSED = "PodsRefused"
    ENGINE_DEAD = "EngineDead"
    GENERATE_FAILED = "GenerateFailed"
    GENERATE_TIMED_OUT = "GenerateTimedOut"
    NOTHING_GENERATED = "NothingGenerated"
    DEGENERATE_ANSWER = "DegenerateAnswer"

    # The same, by what an engine says as it ends (health/failures/signatures.yaml)
    MAX_MODEL_LEN_OVER_KV = "MaxModelLenOverKv"
    NO_KV_MEMORY = "NoKvMemory"
    TOO_MANY_SEQUENCES = "TooManySequences"
    GPU_MEMORY_TAKEN = "GpuMemoryTaken"
    CUDA_OUT_OF_MEMORY = "CudaOutOfMemory"
    MODEL_GATED = "ModelGated"
    HUB_RATE_LIMITED = "HubRateLimited"
    HUB_UNREACHABLE = "HubUnreachable"
    MODEL_FILES_DAMAGED = "ModelFilesDamaged"
    CHECKPOINT_MISMATCH = "CheckpointMismatch"
    NO_WEIGHTS = "NoWeights"
    CONFIG_UNREADABLE = "ConfigUnreadable"
    NO_TOKENIZER = "NoTokenizer"
    RUNTIME_TOO_OLD = "RuntimeTooOld"
    UNSUPPORTED_ARCHITECTURE = "UnsupportedArchitecture"
    REMOTE_CODE_NEEDED = "RemoteCodeNeeded"
    QUANT_GROUP_AGAINST_TP = "QuantGroupAgainstTp"
    HEADS_AGAINST_TP = "HeadsAgainstTp"
    TOO_FEW_GPUS = "TooFewGpus"
    DTYPE_NOT_SUPPORTED = "DtypeNotSupported"
    GPU_TOO_OLD_FOR_DTYPE = "GpuTooOldForDtype"
    GPU_TOO_OLD_FOR_QUANTIZATION = "GpuTooOldForQuantization"
    QUANTIZATION_MISMATCH = "QuantizationMismatch"
    ARGUMENT_UNKNOWN = "ArgumentUnknown"
    LORA_RANK = "LoraRank"
    IMAGE_LACKS_GPU_ARCH = "ImageLacksGpuArch"
    DRIVER_MISMATCH = "DriverMismatch"
    DRIVER_TOO_OLD = "DriverTooOld"
    GPU_LOST_IN_CONTAINER = "GpuLostInContainer"
    NO_GPU_IN_CONTAINER = "NoGpuInContainer"
    GPU_FAULTY = "GpuFaulty"
    GPU_UNHEALTHY = "GpuUnhealthy"
    GPU_FAULT = "GpuFault"
    NCCL_FAILED = "NcclFailed"
    SHARED_MEMORY_TOO_SMALL = "SharedMemoryTooSmall"
    PORT_TAKEN = "PortTaken"
    SERVICE_ENV_COLLISION = "ServiceEnvCollision"
    USER_WITHOUT_NAME = "UserWithoutName"
    NO_WRITABLE_HOME = "NoWritableHome"
    NO_COMPILER_IN_IMAGE = "NoCompilerInImage"
    FORKED_CUDA = "ForkedCuda"
    COMPILE_CACHE_DAMAGED = "CompileCacheDamaged"
    ENGINE_HUNG = "EngineHung"
    STUB_DEAD = "StubDead"

    # Degraded, Stalled
    NOTHING_FAILED = "NothingFailed"
    NOT_STALLED = "NotStalled"

    # The pod's gate, beside those above
    NOT_YET_PROVEN = "NotYetProven"
