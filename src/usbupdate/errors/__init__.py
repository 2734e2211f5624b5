"""Everything that can go wrong, as one tree; each file holds one branch, `tree` the trunk.

All branches are imported here: the pages that are made from the tree, and its tests, must see every leaf.
"""

from __future__ import annotations

from usbupdate.errors.device import (
    BootLoaderError as BootLoaderError,
)
from usbupdate.errors.device import (
    BusyError as BusyError,
)
from usbupdate.errors.device import (
    DeviceLockedError as DeviceLockedError,
)
from usbupdate.errors.device import (
    NothingInstalledError as NothingInstalledError,
)
from usbupdate.errors.device import (
    NothingOnTrialError as NothingOnTrialError,
)
from usbupdate.errors.device import (
    ReadBackError as ReadBackError,
)
from usbupdate.errors.device import (
    RolledBackError as RolledBackError,
)
from usbupdate.errors.device import (
    SlotError as SlotError,
)
from usbupdate.errors.device import (
    SlotReadError as SlotReadError,
)
from usbupdate.errors.device import (
    SlotUnusableError as SlotUnusableError,
)
from usbupdate.errors.device import (
    SlotWriteError as SlotWriteError,
)
from usbupdate.errors.device import (
    UpdateUnderWayError as UpdateUnderWayError,
)
from usbupdate.errors.evidence import (
    EnrolledKeyDiffersError as EnrolledKeyDiffersError,
)
from usbupdate.errors.evidence import (
    EvidenceBrokenError as EvidenceBrokenError,
)
from usbupdate.errors.evidence import (
    EvidenceError as EvidenceError,
)
from usbupdate.errors.evidence import (
    EvidenceSignatureError as EvidenceSignatureError,
)
from usbupdate.errors.evidence import (
    FingerprintDiffersError as FingerprintDiffersError,
)
from usbupdate.errors.evidence import (
    NotEnrolledError as NotEnrolledError,
)
from usbupdate.errors.given import (
    AlreadyProvisionedError as AlreadyProvisionedError,
)
from usbupdate.errors.given import (
    DemoClaimError as DemoClaimError,
)
from usbupdate.errors.given import (
    DeviceNotThereError as DeviceNotThereError,
)
from usbupdate.errors.given import (
    EnrolmentUnreadableError as EnrolmentUnreadableError,
)
from usbupdate.errors.given import (
    InputError as InputError,
)
from usbupdate.errors.given import (
    NoEvidenceError as NoEvidenceError,
)
from usbupdate.errors.given import (
    ProgramMissingError as ProgramMissingError,
)
from usbupdate.errors.given import (
    UnusableFileError as UnusableFileError,
)
from usbupdate.errors.given import (
    UnusableValueError as UnusableValueError,
)
from usbupdate.errors.medium import (
    LogConflictError as LogConflictError,
)
from usbupdate.errors.medium import (
    LogFolderHostileError as LogFolderHostileError,
)
from usbupdate.errors.medium import (
    LogNotKeptError as LogNotKeptError,
)
from usbupdate.errors.medium import (
    LogStickError as LogStickError,
)
from usbupdate.errors.medium import (
    LogStickFullError as LogStickFullError,
)
from usbupdate.errors.medium import (
    MediumError as MediumError,
)
from usbupdate.errors.medium import (
    MediumUnreadableError as MediumUnreadableError,
)
from usbupdate.errors.medium import (
    MountFailedError as MountFailedError,
)
from usbupdate.errors.medium import (
    NoPlaceForLogsError as NoPlaceForLogsError,
)
from usbupdate.errors.medium import (
    StickReadOnlyError as StickReadOnlyError,
)
from usbupdate.errors.notready import (
    BootIdError as BootIdError,
)
from usbupdate.errors.notready import (
    ConfigurationError as ConfigurationError,
)
from usbupdate.errors.notready import (
    ConfiguredRootError as ConfiguredRootError,
)
from usbupdate.errors.notready import (
    DegradedError as DegradedError,
)
from usbupdate.errors.notready import (
    DeviceUnfitError as DeviceUnfitError,
)
from usbupdate.errors.notready import (
    IdentityMissingError as IdentityMissingError,
)
from usbupdate.errors.notready import (
    IdentityUnreadableError as IdentityUnreadableError,
)
from usbupdate.errors.notready import (
    KeyExposedError as KeyExposedError,
)
from usbupdate.errors.notready import (
    LedgerError as LedgerError,
)
from usbupdate.errors.notready import (
    LedgerFullError as LedgerFullError,
)
from usbupdate.errors.notready import (
    NotProvisionedError as NotProvisionedError,
)
from usbupdate.errors.notready import (
    NotReadyError as NotReadyError,
)
from usbupdate.errors.notready import (
    RootConflictError as RootConflictError,
)
from usbupdate.errors.notready import (
    StateMissingError as StateMissingError,
)
from usbupdate.errors.notready import (
    StateUnreadableError as StateUnreadableError,
)
from usbupdate.errors.notready import (
    StoredTrustError as StoredTrustError,
)
from usbupdate.errors.notready import (
    StoreFailedError as StoreFailedError,
)
from usbupdate.errors.notready import (
    TrustExistsError as TrustExistsError,
)
from usbupdate.errors.notready import (
    TrustLibraryError as TrustLibraryError,
)
from usbupdate.errors.notready import (
    TrustMissingError as TrustMissingError,
)
from usbupdate.errors.notready import (
    TrustStorageError as TrustStorageError,
)
from usbupdate.errors.notready import (
    UnitFileError as UnitFileError,
)
from usbupdate.errors.office import (
    DeltasNotMadeError as DeltasNotMadeError,
)
from usbupdate.errors.office import (
    ExpiresSoonError as ExpiresSoonError,
)
from usbupdate.errors.office import (
    KeyExistsError as KeyExistsError,
)
from usbupdate.errors.office import (
    KeyLockedError as KeyLockedError,
)
from usbupdate.errors.office import (
    KeyUnusableError as KeyUnusableError,
)
from usbupdate.errors.office import (
    NoOfficeError as NoOfficeError,
)
from usbupdate.errors.office import (
    NoSuchBundleError as NoSuchBundleError,
)
from usbupdate.errors.office import (
    NotSignedError as NotSignedError,
)
from usbupdate.errors.office import (
    OfficeClockError as OfficeClockError,
)
from usbupdate.errors.office import (
    OfficeError as OfficeError,
)
from usbupdate.errors.office import (
    OfficeExistsError as OfficeExistsError,
)
from usbupdate.errors.office import (
    OfficeFileError as OfficeFileError,
)
from usbupdate.errors.office import (
    OfficeKeyError as OfficeKeyError,
)
from usbupdate.errors.office import (
    SameKeyTwiceError as SameKeyTwiceError,
)
from usbupdate.errors.office import (
    SequenceJumpError as SequenceJumpError,
)
from usbupdate.errors.office import (
    SequenceTakenError as SequenceTakenError,
)
from usbupdate.errors.office import (
    StickDidNotKeepError as StickDidNotKeepError,
)
from usbupdate.errors.office import (
    StickFullError as StickFullError,
)
from usbupdate.errors.office import (
    StickWriteError as StickWriteError,
)
from usbupdate.errors.office import (
    ThresholdError as ThresholdError,
)
from usbupdate.errors.office import (
    UselessKeyError as UselessKeyError,
)
from usbupdate.errors.refused import (
    FileSystemNotAllowedError as FileSystemNotAllowedError,
)
from usbupdate.errors.refused import (
    ForeignStickError as ForeignStickError,
)
from usbupdate.errors.refused import (
    GatePostponedError as GatePostponedError,
)
from usbupdate.errors.refused import (
    GateRefusedError as GateRefusedError,
)
from usbupdate.errors.refused import (
    ImageTooLargeError as ImageTooLargeError,
)
from usbupdate.errors.refused import (
    MountedElsewhereError as MountedElsewhereError,
)
from usbupdate.errors.refused import (
    NewerFormatError as NewerFormatError,
)
from usbupdate.errors.refused import (
    OlderSequenceError as OlderSequenceError,
)
from usbupdate.errors.refused import (
    OlderStickError as OlderStickError,
)
from usbupdate.errors.refused import (
    OtherDevicesError as OtherDevicesError,
)
from usbupdate.errors.refused import (
    RefusedError as RefusedError,
)
from usbupdate.errors.refused import (
    SlotClassMissingError as SlotClassMissingError,
)
from usbupdate.errors.refused import (
    SlotClassUnknownError as SlotClassUnknownError,
)
from usbupdate.errors.refused import (
    SteppingStoneError as SteppingStoneError,
)
from usbupdate.errors.refused import (
    TriedBeforeError as TriedBeforeError,
)
from usbupdate.errors.refused import (
    TwoSticksError as TwoSticksError,
)
from usbupdate.errors.refused import (
    WrongCompatibleError as WrongCompatibleError,
)
from usbupdate.errors.rejected import (
    AliasedTargetError as AliasedTargetError,
)
from usbupdate.errors.rejected import (
    ContentsDifferError as ContentsDifferError,
)
from usbupdate.errors.rejected import (
    FileDigestError as FileDigestError,
)
from usbupdate.errors.rejected import (
    FoldingNamesError as FoldingNamesError,
)
from usbupdate.errors.rejected import (
    ForkedOfficeError as ForkedOfficeError,
)
from usbupdate.errors.rejected import (
    FrameBrokenError as FrameBrokenError,
)
from usbupdate.errors.rejected import (
    ImageDiffersError as ImageDiffersError,
)
from usbupdate.errors.rejected import (
    MalformedError as MalformedError,
)
from usbupdate.errors.rejected import (
    ManifestsLostError as ManifestsLostError,
)
from usbupdate.errors.rejected import (
    MediumFileKindError as MediumFileKindError,
)
from usbupdate.errors.rejected import (
    MediumFileMissingError as MediumFileMissingError,
)
from usbupdate.errors.rejected import (
    MediumFileSizeError as MediumFileSizeError,
)
from usbupdate.errors.rejected import (
    MetadataExpiredError as MetadataExpiredError,
)
from usbupdate.errors.rejected import (
    MetadataMalformedError as MetadataMalformedError,
)
from usbupdate.errors.rejected import (
    MetadataMissingError as MetadataMissingError,
)
from usbupdate.errors.rejected import (
    MetadataMixedError as MetadataMixedError,
)
from usbupdate.errors.rejected import (
    MetadataRollbackError as MetadataRollbackError,
)
from usbupdate.errors.rejected import (
    MetadataSignatureError as MetadataSignatureError,
)
from usbupdate.errors.rejected import (
    RejectedError as RejectedError,
)
from usbupdate.errors.rejected import (
    RepeatedKeyError as RepeatedKeyError,
)
from usbupdate.errors.rejected import (
    StoredBytesDifferError as StoredBytesDifferError,
)
from usbupdate.errors.rejected import (
    TooManyNamesError as TooManyNamesError,
)
from usbupdate.errors.tree import (
    EXIT_CODE_MEANINGS as EXIT_CODE_MEANINGS,
)
from usbupdate.errors.tree import (
    ExitCode as ExitCode,
)
from usbupdate.errors.tree import (
    UsbupdateError as UsbupdateError,
)
from usbupdate.errors.tree import (
    leaves as leaves,
)
from usbupdate.errors.tree import (
    reason_of as reason_of,
)
