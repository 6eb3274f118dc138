/// S
pub struct SledStore;
